// Result<T, E>: a value or a small error, the "expected" shape. Errors are enums of the room that reports them.
//
//   Result<Ipv4Header, ParseError> parse(ByteView bytes);
//   auto header = parse(bytes);
//   if (!header) return header.error();
#pragma once

#include <utility>
#include <variant>

#include "base/check.h"

namespace culvert {

// Wraps an error on its way into a Result whose T and E could be confused.
template <class E>
struct Failure {
  E error;
};
template <class E>
Failure(E) -> Failure<E>;

template <class T, class E>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: converts on purpose
  Result(Failure<E> failure) : state_(std::in_place_index<1>, std::move(failure.error)) {}
  Result(E error) requires(!std::is_convertible_v<E, T>) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    DP_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    DP_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    DP_CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const E& error() const {
    DP_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, E> state_;
};

// Nothing to return but success.
template <class E>
class [[nodiscard]] Result<void, E> {
 public:
  Result() = default;
  Result(E error) : error_(std::move(error)), ok_(false) {}  // NOLINT: converts on purpose
  Result(Failure<E> failure) : error_(std::move(failure.error)), ok_(false) {}

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const E& error() const {
    DP_CHECK(!ok_);
    return error_;
  }

 private:
  E error_{};
  bool ok_ = true;
};

}  // namespace culvert
