// A scrape that has something of everything.
#pragma once

#include "admin/metrics.h"

namespace culvert::admin {

Scrape scrape_sample();

}  // namespace culvert::admin
