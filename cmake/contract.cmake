# Generated code of the contract between the two processes (dataplane/control/api/*.proto).
#
# culvert_proto_library(TARGET ROOT dir PROTOS file...): one static library of messages and services. Generated code is
# none of ours: it is compiled without our warnings, and its headers are system headers to whoever links it.

find_package(Protobuf REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
find_library(GRPCPP_LIBRARY grpc++ REQUIRED)
find_library(GRPC_LIBRARY grpc REQUIRED)
find_library(GPR_LIBRARY gpr REQUIRED)
# gRPC's headers use its mutexes inline. libgrpc-dev brings it.
find_library(ABSL_SYNCHRONIZATION_LIBRARY absl_synchronization REQUIRED)

add_library(grpc_plain INTERFACE)
target_link_libraries(grpc_plain INTERFACE
  ${GRPCPP_LIBRARY} ${GRPC_LIBRARY} ${GPR_LIBRARY} ${ABSL_SYNCHRONIZATION_LIBRARY}
  protobuf::libprotobuf Threads::Threads)

function(culvert_proto_library target)
  cmake_parse_arguments(PROTO "" "ROOT" "PROTOS" ${ARGN})
  set(out ${CMAKE_CURRENT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${out})
  list(TRANSFORM PROTO_PROTOS PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  set(sources)
  foreach(absolute ${PROTO_PROTOS})
    cmake_path(RELATIVE_PATH absolute BASE_DIRECTORY ${PROTO_ROOT} OUTPUT_VARIABLE relative)
    cmake_path(REMOVE_EXTENSION relative OUTPUT_VARIABLE stem)
    add_custom_command(
      OUTPUT ${out}/${stem}.pb.cc ${out}/${stem}.pb.h ${out}/${stem}.grpc.pb.cc ${out}/${stem}.grpc.pb.h
      COMMAND protobuf::protoc --proto_path=${PROTO_ROOT} --cpp_out=${out} --grpc_out=${out}
              --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN} ${absolute}
      DEPENDS ${absolute} ${PROTO_PROTOS}
      COMMENT "Generating ${stem}"
      VERBATIM)
    list(APPEND sources ${out}/${stem}.pb.cc ${out}/${stem}.grpc.pb.cc)
  endforeach()
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} SYSTEM PUBLIC ${out})
  target_compile_options(${target} PRIVATE -w)
  target_link_libraries(${target} PUBLIC grpc_plain)
endfunction()
