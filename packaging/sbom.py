#!/usr/bin/env python3
"""Writes what the program is made of as CycloneDX 1.5, from cargo's own account of the packages that are linked into it."""
import json
import subprocess
import sys
import tomllib

target = sys.argv[1]
metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target])
)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
with open("Cargo.lock", "rb") as file:
    sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}

root = next(id for id, package in packages.items() if package["name"] == "sterna")
linked, due = set(), [root]
while due:
    node = nodes[due.pop()]
    if node["id"] in linked:
        continue
    linked.add(node["id"])
    # What only tests need is not part of the program.
    due += [dep["pkg"] for dep in node["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]


def component(package):
    name, version = package["name"], package["version"]
    told = {"type": "library", "name": name, "version": version, "bom-ref": f"{name}@{version}"}
    if package["source"]:
        told["purl"] = f"pkg:cargo/{name}@{version}"
    if package["license"]:
        told["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := sums.get((name, version)):
        told["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return told


made_of = sorted((packages[id] for id in linked - {root}), key=lambda package: (package["name"], package["version"]))
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[root]) | {"type": "application"}},
        "components": [component(package) for package in made_of],
    },
    sys.stdout,
    indent=1,
)
print()
