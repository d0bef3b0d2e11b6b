// A doubly linked list through a member of its elements: first in, first out, remove from anywhere, no allocation.
#pragma once

#include "base/check.h"

namespace culvert::tcp {

template <class T>
struct ListLink {
  T* previous = nullptr;
  T* next = nullptr;
  bool linked = false;
};

template <class T, ListLink<T> T::*kLink>
class List {
 public:
  bool empty() const { return first_ == nullptr; }
  T* front() const { return first_; }
  static bool contains(const T& element) { return (element.*kLink).linked; }

  void push_back(T& element) {
    ListLink<T>& link = element.*kLink;
    DP_DCHECK(!link.linked);
    link = {last_, nullptr, true};
    (last_ ? (last_->*kLink).next : first_) = &element;
    last_ = &element;
  }
  void remove(T& element) {
    ListLink<T>& link = element.*kLink;
    if (!link.linked) return;
    (link.previous ? (link.previous->*kLink).next : first_) = link.next;
    (link.next ? (link.next->*kLink).previous : last_) = link.previous;
    link = {};
  }
  T* pop_front() {
    T* element = first_;
    if (element) remove(*element);
    return element;
  }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
};

}  // namespace culvert::tcp
