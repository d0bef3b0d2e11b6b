#!/usr/bin/python3
"""The checks themselves: each catches the fault it is there for, and lets the right thing pass."""

import unittest

import rules

TREE = {"dataplane/base/time.h", "dataplane/tcp/stack.h", "dataplane/tcp/rto.h", "dataplane/tls/session.h",
        "dataplane/proxy/proxy.h", "dataplane/control/server.h", "dataplane/control/api/mesh.proto",
        "dataplane/config/config.h", "drivers/tap/tap_port.h", "controlagent/ca/ca.h", "controlagent/xds/client.h",
        "controlagent/istiod/endpoint.h", "controlagent/new/new.h"}


def includes(path, *names):
    return rules.check_includes(path, "".join(f"#include {name}\n" for name in names), TREE)


class Levels(unittest.TestCase):
    def test_a_lower_room_and_the_own_room_may_be_included(self):
        self.assertEqual(includes("dataplane/tcp/stack.cc", '"tcp/stack.h"', '"tcp/rto.h"', '"base/time.h"'), [])

    def test_a_neighbour_of_the_same_level_is_caught(self):
        self.assertEqual(len(includes("dataplane/tcp/stack.cc", '"tls/session.h"')), 1)

    def test_a_higher_room_is_caught(self):
        self.assertEqual(len(includes("dataplane/tcp/stack.cc", '"proxy/proxy.h"')), 1)

    def test_an_unknown_room_is_caught(self):
        self.assertEqual(len(includes("dataplane/utils/misc.cc", "<vector>")), 1)

    def test_only_main_knows_the_drivers(self):
        self.assertEqual(len(includes("dataplane/worker/node.cc", '"tap/tap_port.h"')), 1)
        self.assertEqual(includes("dataplane/main/main.cc", '"tap/tap_port.h"'), [])

    def test_drivers_see_the_interfaces_of_level_two_at_most(self):
        self.assertEqual(includes("drivers/crypto/aead.cc", '"tls/session.h"'), [])
        self.assertEqual(len(includes("drivers/crypto/aead.cc", '"proxy/proxy.h"')), 1)

    def test_the_agent_knows_the_contract_and_the_configuration_only(self):
        self.assertEqual(includes("controlagent/node/node.cc", '"config/config.h"', '"control/api/mesh.pb.h"'), [])
        self.assertEqual(len(includes("controlagent/node/node.cc", '"control/server.h"')), 1)
        self.assertEqual(len(includes("controlagent/node/node.cc", '"tcp/stack.h"')), 1)

    def test_rooms_of_the_agent_have_an_order(self):
        self.assertEqual(includes("controlagent/xds/client.cc", '"istiod/endpoint.h"'), [])
        self.assertEqual(len(includes("controlagent/istiod/endpoint.cc", '"xds/client.h"')), 1)
        self.assertEqual(len(includes("controlagent/southbound/southbound.cc", '"xds/client.h"')), 1)
        self.assertEqual(len(includes("controlagent/new/new.cc", '"xds/client.h"')), 1)


class Homes(unittest.TestCase):
    def test_a_third_party_header_away_from_home_is_caught(self):
        self.assertEqual(len(includes("dataplane/tcp/stack.cc", "<rte_mbuf.h>")), 1)
        self.assertEqual(len(includes("dataplane/proxy/proxy.cc", "<openssl/ssl.h>")), 1)
        self.assertEqual(len(includes("dataplane/worker/node.cc", "<grpcpp/grpcpp.h>")), 1)
        self.assertEqual(len(includes("controlagent/local/mesh.cc", "<yaml-cpp/yaml.h>")), 1)
        self.assertEqual(len(includes("controlagent/reconcile/mesh.h", "<google/protobuf/message.h>")), 1)

    def test_at_home_it_passes(self):
        self.assertEqual(includes("dataplane/packet/packet.cc", "<rte_mbuf.h>"), [])
        self.assertEqual(includes("drivers/ethdev/port.cc", "<rte_ethdev.h>"), [])
        self.assertEqual(includes("dataplane/http2/session.cc", "<nghttp2/nghttp2.h>"), [])

    def test_a_heavy_header_in_a_header_is_caught(self):
        self.assertEqual(len(includes("controlagent/ctl/table.h", "<nlohmann/json.hpp>")), 1)


class HeaderSets(unittest.TestCase):
    CMAKE = "culvert_room(tcp SOURCES stack.cc rto.cc PUBLIC stack.h # the door\n DEPS culvert_base)"

    def test_the_public_list_is_read_up_to_the_next_keyword(self):
        self.assertEqual(rules.public_headers(self.CMAKE), {"stack.h"})

    def test_a_private_header_of_another_room_is_caught(self):
        shown = {"dataplane/tcp": rules.public_headers(self.CMAKE)}
        text = '#include "tcp/rto.h"\n#include "tcp/stack.h"\n'
        self.assertEqual(len(rules.check_public("dataplane/proxy/proxy.cc", text, TREE, shown)), 1)
        self.assertEqual(rules.check_public("dataplane/tcp/stack.cc", text, TREE, shown), [])


class Texts(unittest.TestCase):
    def test_a_clock_in_a_machine_is_caught_and_in_a_comment_is_not(self):
        self.assertEqual(len(rules.check_machine("dataplane/tcp/rto.cc", "auto t = steady_clock::now();")), 1)
        self.assertEqual(rules.check_machine("dataplane/tcp/rto.cc", "// no steady_clock::now() here"), [])
        self.assertEqual(rules.check_machine("dataplane/worker/loop.cc", "steady_clock::now();"), [])

    def test_cpu_time_is_no_clock(self):
        self.assertEqual(rules.check_machine("dataplane/tls/a.cc", "clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);"), [])
        self.assertEqual(len(rules.check_machine("dataplane/tls/a.cc", "clock_gettime(CLOCK_MONOTONIC, &t);")), 1)

    def test_the_level_picture_is_read(self):
        self.assertEqual(rules.drawn_levels("text\n 2  tcp   tls\n 0  base\nmore 1  things"),
                         {"tcp": 2, "tls": 2, "base": 0})

    def test_unfinished_business_is_caught(self):
        self.assertEqual(len(rules.check_words("a.cc", "// TO" "DO: more\nint ok;\n")), 1)

    def test_a_long_line_is_caught(self):
        self.assertEqual(len(rules.check_columns("a.cc", "x" * 121 + "\n" + "x" * 120)), 1)

    def test_a_symbol_that_only_a_comment_names_counts_as_unused(self):
        listed = rules.symbols_of('DROP_REASON(EthTooShort, eth, "…")\nDROP_REASON(EthOdd, eth, "…")\n', "DROP_REASON")
        self.assertEqual(listed, ["EthTooShort", "EthOdd"])
        code = ["drop(DropReason::kEthTooShort); // not kEthOdd"]
        self.assertEqual(rules.unused_symbols(listed, code), ["EthOdd"])


if __name__ == "__main__":
    unittest.main()
