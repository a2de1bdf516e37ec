#!/usr/bin/env python3
"""Holds our trimmed ext_proc.proto against the official descriptors.

Usage: ext_proc_proto.py --protoc PROTOC --root SOURCE_DIR --venv DIR

Every message that can be reached from ProcessingRequest and ProcessingResponse is compared with its
official counterpart: each of our fields must exist there with the same number, name, type, label and
oneof, each enum value with the same number and name. Package names may differ; they are not on the
wire. The service and method names must not. Exits 0 when all agree, 1 when not, and 77 (skipped) only
when the package with the official descriptors cannot be installed.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

PACKAGE = "xds-protos==1.85.0"
SKIPPED = 77


def enter_venv(directory):
    """Runs this script again inside a virtual environment that has PACKAGE."""
    python = pathlib.Path(directory) / "bin" / "python"
    stamp = pathlib.Path(directory) / "installed" / PACKAGE  # as deploy/install-deps.sh leaves it
    if not stamp.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", directory], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"skipped: cannot install {PACKAGE}: {error}")
            sys.exit(SKIPPED)
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()
    sys.exit(subprocess.run([python, __file__, *sys.argv[1:], "--inside"]).returncode)


class Comparison:
    def __init__(self):
        self.errors = []
        self.fields = 0
        self.values = 0
        self._seen = set()

    def error(self, where, what, got, want):
        self.errors.append(f"{where}: {what} is {got}, want {want}")

    def messages(self, ours, official):
        if (ours.full_name, official.full_name) in self._seen:
            return
        self._seen.add((ours.full_name, official.full_name))
        for field in ours.fields:
            self.field(field, official)

    def field(self, ours, message):
        where = f"{ours.containing_type.full_name}.{ours.name} = {ours.number}"
        official = message.fields_by_number.get(ours.number)
        if official is None:
            self.errors.append(f"{where}: {message.full_name} has no such field")
            return
        self.fields += 1
        proto_of = lambda field: field_proto(field.containing_type, field.number)
        mine, theirs = proto_of(ours), proto_of(official)
        for what in ("name", "type", "label", "proto3_optional"):
            if getattr(mine, what) != getattr(theirs, what):
                self.error(where, what, getattr(mine, what), getattr(theirs, what))
        one_of = lambda field: field.containing_oneof.name if field.containing_oneof else None
        if one_of(ours) != one_of(official):
            self.error(where, "oneof", one_of(ours), one_of(official))
        if ours.message_type and official.message_type:
            if is_google(ours.message_type) or is_google(official.message_type):
                if ours.message_type.full_name != official.message_type.full_name:
                    self.error(where, "message", ours.message_type.full_name,
                               official.message_type.full_name)
            else:
                self.messages(ours.message_type, official.message_type)
        if ours.enum_type and official.enum_type:
            self.enums(ours.enum_type, official.enum_type)

    def enums(self, ours, official):
        if (ours.full_name, official.full_name) in self._seen:
            return
        self._seen.add((ours.full_name, official.full_name))
        for value in ours.values:
            self.values += 1
            theirs = official.values_by_number.get(value.number)
            got = theirs.name if theirs else "absent"
            if got != value.name:
                self.error(f"{ours.full_name} {value.number}", "name", value.name, got)


def is_google(message):
    return message.full_name.startswith("google.protobuf.")


def field_proto(message, number):
    from google.protobuf import descriptor_pb2
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    return next(field for field in proto.field if field.number == number)


def load_ours(protoc, root):
    from google.protobuf import descriptor_pb2, descriptor_pool
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "set"
        subprocess.run([protoc, f"--proto_path={root}", "--include_imports",
                        f"--descriptor_set_out={out}", "host/extproc/ext_proc.proto"], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--protoc", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--venv", required=True)
    parser.add_argument("--inside", action="store_true")
    arguments = parser.parse_args()
    if not arguments.inside:
        enter_venv(arguments.venv)

    from envoy.service.ext_proc.v3 import external_processor_pb2 as official
    pool = load_ours(arguments.protoc, arguments.root)
    package = "envoy.service.ext_proc.v3."
    comparison = Comparison()
    for name in ("ProcessingRequest", "ProcessingResponse"):
        comparison.messages(pool.FindMessageTypeByName(package + name),
                            official.DESCRIPTOR.message_types_by_name[name])

    ours = pool.FindServiceByName(package + "ExternalProcessor")
    theirs = official.DESCRIPTOR.services_by_name["ExternalProcessor"]
    if ours.full_name != theirs.full_name:
        comparison.error("service", "name", ours.full_name, theirs.full_name)
    for method in ours.methods:
        match = theirs.methods_by_name.get(method.name)
        shape = lambda m: m and (m.client_streaming, m.server_streaming, m.input_type.full_name,
                                 m.output_type.full_name)
        if shape(method) != shape(match):
            comparison.error(method.full_name, "shape", shape(method), shape(match))

    for error in comparison.errors:
        print(error)
    # A comparison that saw nothing has proved nothing.
    if comparison.fields < 60 or comparison.values < 20:
        comparison.errors.append("")
        print(f"only {comparison.fields} fields and {comparison.values} enum values were compared")
    print(f"{comparison.fields} fields and {comparison.values} enum values compared, "
          f"{len(comparison.errors)} differences")
    return 1 if comparison.errors else 0


if __name__ == "__main__":
    sys.exit(main())
