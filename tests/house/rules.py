"""The rules of the house that a program can check, as tables and pure functions over file contents.

The tables are house style section 2 (levels, homes of third-party headers) written once in code. Each check takes a
path and a text, or the tree, and returns a list of sentences; an empty list means that all is well. Nothing here
prints or reads the tree by itself except Tree.
"""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A room includes rooms of lower levels only, and never a neighbour of its own level.
LEVELS = {
    "base": 0,
    "packet": 1, "wire": 1, "identity": 1, "config": 1, "telemetry": 1,
    "port": 2, "eth": 2, "ip": 2, "tcp": 2, "tls": 2, "http2": 2,
    "snapshot": 3,
    "hbone": 4, "routing": 4, "policy": 4,
    "proxy": 5, "why": 5,
    "worker": 6,
    "control": 7,
    "main": 8,
}
DRIVER_LEVEL = 3  # drivers implement interfaces of level 2; only main, tests and perf know them

# The agent's rooms in the order of their dependence: a room includes agent rooms of lower levels only.
AGENT_LEVELS = {
    "log": 0, "reconcile": 0,
    "local": 1, "ca": 1, "node": 1, "istiod": 1,
    "istioca": 2, "xds": 2, "southbound": 2,
    "admin": 3,
    "agent": 4, "ctl": 4,
}

# What the agent may see of the data plane: the contract, the configuration both read, and the base under it.
AGENT_SEES = {"base", "config", "control"}
# culvertctl explains decisions with the code that makes them.
CTL_SEES = AGENT_SEES | {"routing", "policy", "snapshot", "identity", "telemetry", "wire", "why"}
# The agent's CA names identities with the type that the data plane checks them with.
CA_SEES = AGENT_SEES | {"identity"}

# First pattern that matches an #include <...> decides where it may stand. A place is a folder under the root.
THIRD_PARTY_HOMES = [
    (r"rte_(mbuf|mempool)[a-z_]*\.h", {"dataplane/packet", "dataplane/main", "drivers"}),
    (r"rte_(ring|rcu_qsbr|fib6?|lpm6?|hash|hash_crc|jhash|thash)[a-z_]*\.h",
     {"dataplane/base", "dataplane/ip", "dataplane/main", "drivers"}),
    (r"rte_.*\.h", {"dataplane/main", "drivers"}),
    (r"openssl/.*", {"dataplane/tls", "dataplane/identity", "drivers/crypto", "controlagent/ca"}),
    (r"nghttp2/.*", {"dataplane/http2"}),
    (r"(intel-)?ipsec-mb\.h", {"drivers/crypto"}),
    (r"(grpc|grpcpp|google/protobuf)/.*",
     {"dataplane/control", "controlagent/ctl", "controlagent/istioca", "controlagent/istiod", "controlagent/southbound",
      "controlagent/xds"}),
    (r"yaml-cpp/.*|yaml\.h", {"dataplane/config"}),
    (r"httplib\.h", {"controlagent/admin"}),
    (r"(spdlog|fmt|CLI|nlohmann)/.*", {"dataplane/main", "dataplane/control", "controlagent"}),
    (r"linux/if_(tun|packet)\.h|linux/virtio_net\.h",
     {"drivers", "dataplane/main", "dataplane/control", "controlagent"}),
]
# Expensive to compile: never in a header, so that one .cc pays for it.
HEAVY = re.compile(r"(spdlog|CLI|nlohmann)/|httplib\.h")

# What machines do not do (house style 5 and 6), by the highest level that must not do it.
FORBIDDEN_CALLS = [
    # What a handshake costs is counted in CPU time, which decides nothing.
    (5, re.compile(r"\b(steady|system|high_resolution)_clock::now\b|\bclock_gettime\((?!CLOCK_THREAD_CPUTIME_ID)|"
                   r"\bgettimeofday\b"),
     "reads a clock; time is handed in"),
    (5, re.compile(r"\bstd::random_device\b|\bstd::mt19937|\bs?rand\(|\bgetrandom\b"),
     "draws a random number by itself; a generator is handed in"),
    (5, re.compile(r"\bstd::(cout|cerr|clog)\b|\bspdlog::"), "logs; a machine returns what happened"),
    (6, re.compile(r"\bstd::(views|ranges::views)\b"), "std::views does not compile with clang 14"),
    (6, re.compile(r"\b(dynamic_cast|typeid)\b"), "uses RTTI"),
]

# The two files whose business it is: the seed of the generator, and the last words before an abort.
MAY_REACH_OUT = {"dataplane/base/random.cc", "dataplane/base/check.cc"}

FORBIDDEN_WORDS = [
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"),
     "says what is missing in a comment: that belongs into the room's README under known gaps"),
    (re.compile(r"(?<![\w.])/wor" r"k/"), "names a path of somebody's machine"),
]

CXX = {".h", ".cc"}
MAX_FILE_BYTES = 1 << 20
MAX_COLUMNS = 120
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a file stands: its part of the tree, its room and the room's level (None: outside the level rules)."""
    part: str
    room: str
    level: int | None

    @property
    def folder(self):
        return f"{self.part}/{self.room}" if self.room else self.part


def place_of(path):
    """The place of a path relative to the root."""
    parts = pathlib.PurePosixPath(path).parts
    if len(parts) >= 3 and parts[0] == "dataplane":
        return Place("dataplane", parts[1], LEVELS.get(parts[1]))
    if len(parts) >= 3 and parts[0] == "drivers":
        return Place("drivers", parts[1], DRIVER_LEVEL)
    if len(parts) >= 3 and parts[0] == "controlagent":
        return Place("controlagent", parts[1], None)
    return Place(parts[0] if len(parts) > 1 else "", "", None)


def is_fuzz_harness(path):
    return path.endswith("_fuzz.cc")


def room_of_include(name, places):
    """The place an #include "name" leads to, or None when it is the includer's own folder or generated."""
    first = name.split("/")[0]
    if "/" not in name:
        return None
    for prefix in ("", "dataplane/", "drivers/", "controlagent/"):
        if prefix + name in places:
            return place_of(prefix + name)
    if first in LEVELS:
        return Place("dataplane", first, LEVELS[first])
    return None


def check_includes(path, text, places):
    """Level rules and third-party homes of one C++ file. `places` is the set of all paths in the tree."""
    here = place_of(path)
    found = []
    if here.part not in ("dataplane", "drivers", "controlagent") or is_fuzz_harness(path):
        return found
    if here.part == "dataplane" and here.level is None:
        return [f"{path}: dataplane/{here.room} is not a room of the level table"]
    for kind, name in INCLUDE.findall(text):
        if kind == "<" or re.match(r"(grpc|grpcpp|google/protobuf|spdlog|CLI|nlohmann|yaml-cpp)/", name):
            found += _check_third_party(path, here, name)
            continue
        there = room_of_include(name, places)
        if there is None or there == here:
            continue
        found += _check_level(path, here, there, name)
    return found


def _check_third_party(path, here, name):
    found = []
    for pattern, homes in THIRD_PARTY_HOMES:
        if re.fullmatch(pattern, name):
            if not any(here.folder == home or here.folder.startswith(home + "/") for home in homes):
                found.append(f"{path}: <{name}> belongs to {', '.join(sorted(homes))}")
            break
    if HEAVY.match(name) and path.endswith(".h"):
        found.append(f"{path}: <{name}> in a header; one .cc includes it")
    return found


def _check_level(path, here, there, name):
    if here.part == "dataplane":
        if there.part == "controlagent":
            return [f'{path}: "{name}": the data plane does not know the agent']
        if there.part == "drivers":
            return [] if here.room == "main" else [f'{path}: "{name}": only main knows the drivers']
        if there.level is not None and there.level >= here.level:
            return [f'{path}: "{name}" is level {there.level}, {here.room} is level {here.level}: lower levels only']
        return []
    if here.part == "drivers":
        if there.part == "drivers":
            return [f'{path}: "{name}": a driver does not include another']
        if there.part == "controlagent" or there.level is None or there.level >= DRIVER_LEVEL:
            return [f'{path}: "{name}": drivers see levels 0 to 2']
        return []
    if there.part == "drivers":
        return [f'{path}: "{name}": the agent does not know the drivers']
    if there.part == "controlagent":
        ours, theirs = AGENT_LEVELS.get(here.room), AGENT_LEVELS.get(there.room)
        if ours is None or theirs is None:
            return [f"{path}: controlagent/{here.room if ours is None else there.room} is not in the table of rooms"]
        if theirs >= ours:
            return [f'{path}: "{name}" is level {theirs} of the agent, {here.room} is level {ours}: lower levels only']
        return []
    if there.part == "dataplane":
        sees = {"ctl": CTL_SEES, "ca": CA_SEES}.get(here.room, AGENT_SEES)
        if there.room not in sees:
            return [f'{path}: "{name}": controlagent/{here.room} sees of the data plane only {", ".join(sorted(sees))}']
        if there.room == "control" and not name.split("control/", 1)[1].startswith("api/"):
            return [f'{path}: "{name}": the agent knows the data plane by control/api only']
    return []


def public_headers(cmake_text):
    """The headers in the PUBLIC list of a room's CMakeLists.txt, as written there."""
    text = re.sub(r"#.*", "", cmake_text)
    headers = set()
    for body in re.findall(r"culvert_room\s*\(([^)]*)\)", text):
        words = body.split()
        if "PUBLIC" not in words:
            continue
        for word in words[words.index("PUBLIC") + 1:]:
            if re.fullmatch(r"[A-Z_]+", word):
                break
            headers.add(word)
    return headers


def check_public(path, text, places, shown):
    """Other rooms' headers that this file includes are shown by them. `shown`: folder -> set of public headers."""
    here = place_of(path)
    if here.part not in ("dataplane", "drivers", "controlagent") or is_fuzz_harness(path):
        return []
    found = []
    for kind, name in INCLUDE.findall(text):
        there = room_of_include(name, places) if kind == '"' else None
        if there is None or there == here or there.folder not in shown or name.endswith(".def"):
            continue
        for prefix in ("", "dataplane/", "drivers/", "controlagent/"):
            target = prefix + name
            if target in places and target.startswith(there.folder + "/"):
                inside = target[len(there.folder) + 1:]
                if inside not in shown[there.folder]:
                    found.append(f'{path}: "{name}" is not in the PUBLIC list of {there.folder}/CMakeLists.txt')
    return found


def strip_comments(text):
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def check_machine(path, text):
    """What a machine does not do by itself: clock, randomness, logs, RTTI."""
    here = place_of(path)
    if here.part != "dataplane" or here.level is None or is_fuzz_harness(path) or path in MAY_REACH_OUT:
        return []
    code = strip_comments(text)
    return [f"{path}: {why}" for level, pattern, why in FORBIDDEN_CALLS
            if here.level <= level and pattern.search(code)]


def check_words(path, text):
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, why in FORBIDDEN_WORDS:
            if pattern.search(line):
                found.append(f"{path}:{number}: {why}")
    return found


def check_columns(path, text):
    return [f"{path}:{number}: {len(line)} columns, at most {MAX_COLUMNS}"
            for number, line in enumerate(text.splitlines(), start=1) if len(line) > MAX_COLUMNS]


def drawn_levels(text):
    """The level picture of a page, as {room: level}: lines of a number and rooms, highest first."""
    found = {}
    for level, rooms in re.findall(r"^ (\d)  ((?:[a-z0-9]+ *)+)$", text, flags=re.MULTILINE):
        found.update({room: int(level) for room in rooms.split()})
    return found


def symbols_of(def_text, macro):
    """The first argument of each MACRO(...) line of a .def list."""
    return re.findall(rf"^{macro}\(\s*(\w+)", def_text, flags=re.MULTILINE)


def unused_symbols(symbols, texts):
    """Symbols (without the k of the enumerator) that no text names."""
    named = set()
    for text in texts:
        named.update(re.findall(r"\bk([A-Z]\w*)", strip_comments(text)))
    return [symbol for symbol in symbols if symbol not in named]


class Tree:
    """The files of the tree as git would take them: tracked and new ones, without what is ignored."""

    def __init__(self, root=ROOT):
        self.root = pathlib.Path(root)
        import subprocess
        listed = subprocess.run(["git", "-C", str(self.root), "ls-files", "-co", "--exclude-standard", "-z"],
                                capture_output=True, check=False)
        if listed.returncode == 0:
            names = [name for name in listed.stdout.decode().split("\0") if name]
        else:  # a copy without .git
            names = [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()]
            names = [name for name in names if not name.startswith(("build/", ".git/"))]
        self.paths = sorted(name for name in set(names) if (self.root / name).is_file())
        self.places = set(self.paths)
        self._texts = {}

    def text(self, path):
        if path not in self._texts:
            self._texts[path] = (self.root / path).read_text(encoding="utf-8", errors="replace")
        return self._texts[path]

    def cxx(self):
        return [path for path in self.paths if pathlib.PurePosixPath(path).suffix in CXX]

    def rooms(self):
        """Folders that hold a room: a CMakeLists.txt two levels down in the product's parts."""
        return sorted(str(pathlib.PurePosixPath(path).parent) for path in self.paths
                      if re.fullmatch(r"(dataplane|drivers|controlagent)/\w+/CMakeLists\.txt", path))

    def public_headers(self, room):
        """What a room shows, relative to its folder; a folder inside it with a list of its own counts with it."""
        shown = set()
        for path in self.paths:
            if path.startswith(room + "/") and path.endswith("/CMakeLists.txt"):
                inside = path[len(room) + 1:-len("CMakeLists.txt")]
                shown.update(inside + header for header in public_headers(self.text(path)))
        return shown

    def shebang(self, word):
        """Paths of programs whose first line names `word`."""
        found = []
        for path in self.paths:
            with open(self.root / path, "rb") as handle:
                first = handle.readline(80)
            if first.startswith(b"#!") and word.encode() in first:
                found.append(path)
        return found
