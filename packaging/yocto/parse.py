"""Parses the recipe with bitbake's own parser and the classes of stub/, and checks what the parse gives.

Usage: parse.py BUILD_FOLDER LAYER STUB. Prints a line for each fact; the exit status is 1 if one is wrong. Writes the recipe's
do_install as a shell script to BUILD_FOLDER/install.sh, for `check` to run."""

import logging
import os
import sys
import types

folder, layer, stub = (os.path.abspath(path) for path in sys.argv[1:4])
os.makedirs(f"{folder}/conf")
with open(f"{folder}/conf/bblayers.conf", "w", encoding="utf-8") as file:
    file.write(f'BBPATH = "{folder}"\nBBFILES ?= ""\nBBLAYERS = "{stub} {layer}"\n')
with open(f"{folder}/conf/local.conf", "w", encoding="utf-8"):
    pass
os.chdir(folder)
os.environ["BBPATH"] = folder

# The wheel has the parser and the fetchers, but not the client of the hash equivalence server, which only a build needs.
sys.modules["hashserv"] = types.ModuleType("hashserv")
sys.modules["hashserv.client"] = types.ModuleType("hashserv.client")

import bb  # noqa: E402  (bitbake reads the environment when it is imported)
import bb.cookerdata  # noqa: E402
import bb.data  # noqa: E402
import bb.fetch2  # noqa: E402
import bb.parse  # noqa: E402

problems = []


class Problems(logging.Handler):
    """bitbake logs what is wrong and goes on, as with a layer for another series."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print(f"bitbake: {record.getMessage()}", file=sys.stderr)
            problems.append(record.getMessage())


logging.getLogger("BitBake").addHandler(Problems())


def expect(what: str, found: object, wanted: object) -> None:
    print(f"{what}: {found}")
    if found != wanted:
        problems.append(f"{what}: {found!r}, and should be {wanted!r}")


def parse(distribution: str = "systemd usrmerge polkit"):
    settings = bb.cookerdata.CookerConfiguration()
    settings.env = dict(os.environ)
    builder = bb.cookerdata.CookerDataBuilder(settings)
    builder.parseBaseConfiguration()
    builder.data.setVar("DISTRO_FEATURES", distribution)
    recipes = [
        os.path.join(where, name)
        for where, _, names in os.walk(layer)
        for name in names
        if name.endswith(".bb")
    ]
    assert len(recipes) == 1, recipes
    return builder.parseRecipeVariants(recipes[0], [], mc="", layername="portraitd")[""]


data = parse()
expect("skipped", data.getVar("__SKIPPED"), None)
expect("version", data.getVar("PV"), os.environ["WANTED_VERSION"])
addresses = data.getVar("SRC_URI").split()
fetch = bb.fetch2.Fetch(addresses, data)
kinds = [fetch.ud[address].type for address in addresses]
expect("sources", f"{kinds.count('git')} git, {kinds.count('crate')} crates", f"1 git, {os.environ['WANTED_CRATES']} crates")
without = [fetch.ud[address].url for address in addresses if fetch.ud[address].type == "crate" and not fetch.ud[address].sha256_expected]
expect("crates without a checksum", without, [])
expect("revision", fetch.ud[addresses[0]].revision, os.environ["WANTED_REVISION"])
for name in ("do_update_crates", "do_compile", "do_install"):
    expect(f"{name} is a task", bool(data.getVarFlag(name, "task")), True)
print("cargo build", data.getVar("CARGO_BUILD_FLAGS"))
expect("profile", "--profile dist" in data.getVar("CARGO_BUILD_FLAGS") and "--release" not in data.getVar("CARGO_BUILD_FLAGS"), True)
expect("unit", data.getVar("SYSTEMD_SERVICE:portraitd"), "portraitd.service")

# The users are those of sysusers.d, which makes them elsewhere.
users, groups = set(), set()
with open(os.environ["SYSUSERS"], encoding="utf-8") as file:
    for line in file:
        fields = line.split()
        if fields and fields[0] == "u":
            users.add(fields[1])
            groups.add(fields[1])
        elif fields and fields[0] == "g":
            groups.add(fields[1])
expect("users", {line.split()[-1] for line in data.getVar("USERADD_PARAM:portraitd").split(";")}, users)
expect("groups", {line.split()[-1] for line in data.getVar("GROUPADD_PARAM:portraitd").split(";")}, groups)

with open("install.sh", "w", encoding="utf-8") as file:
    file.write("set -eu\n")
    bb.data.emit_func("do_install", file, data)
    file.write("do_install\n")
with open("facts", "w", encoding="utf-8") as file:
    for name in ("S", "B", "D", "CARGO_TARGET_SUBDIR", "FILES:portraitd", "FILES:portraitd-doc", "systemd_system_unitdir"):
        file.write(f"{name}\t{data.getVar(name)}\n")

# A distribution without systemd skips the recipe, with a reason.
skipped = parse("sysvinit").getVar("__SKIPPED") or ""
expect("skipped without systemd", skipped.endswith("systemd usrmerge"), True)

for problem in problems:
    print(f"error: {problem}", file=sys.stderr)
sys.exit(bool(problems))
