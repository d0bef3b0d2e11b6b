// The schema of culvert.yaml, section by section. Each function reads one key of the document's top level.
#pragma once

#include "config/config.h"
#include "config/reader.h"

namespace culvert::config {

// sections.cc: sections of single values.
void read_node(Section& top, Reader& reader, NodeSection& out);
void read_control(Section& top, Reader& reader, ControlSection& out);
void read_memory(Section& top, Reader& reader, MemorySection& out);
void read_workers(Section& top, Reader& reader, WorkersSection& out);
void read_mesh(Section& top, Reader& reader, MeshSection& out);
void read_istiod(Section& top, Reader& reader, IstiodSection& out);
void read_ca(Section& top, Reader& reader, CaSection& out);
void read_admin(Section& top, Reader& reader, AdminSection& out);
void read_drain(Section& top, Reader& reader, DrainSection& out);
void read_log(Section& top, Reader& reader, LogSection& out);
void read_limits(Section& top, Reader& reader, LimitsSection& out);

// lists.cc: ports, routes and attachments, which refer to each other: routes name ports, no address is given twice.
void read_lists(Section& top, Reader& reader, Config& out);

}  // namespace culvert::config
