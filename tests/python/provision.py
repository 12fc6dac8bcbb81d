"""A tester program written from the .proto file alone: provisions one device and writes what it got.

Usage: provision.py PROTO_DIR CONTEXT_JSON ENTITLEMENT SUBJECT CSR_DER OUT_DIR

CONTEXT_JSON names address, server_name and the PEM files root, certificate and key.
"""

import importlib
import json
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc


def stubs(proto_dir):
    """Generates and imports the stubs of the device-key service."""
    out = tempfile.mkdtemp()
    proto = "mintmark/devicekey/v1/device_key.proto"
    arguments = ["protoc", f"-I{proto_dir}", f"--python_out={out}", f"--grpc_python_out={out}", proto]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, out)
    messages = importlib.import_module("mintmark.devicekey.v1.device_key_pb2")
    services = importlib.import_module("mintmark.devicekey.v1.device_key_pb2_grpc")
    return messages, services


def channel(context):
    """Opens a channel over mutual TLS; the server's name is the one in its certificate."""
    read = lambda name: pathlib.Path(context[name]).read_bytes()
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read("root"),
        private_key=read("key"),
        certificate_chain=read("certificate"),
    )
    options = [("grpc.ssl_target_name_override", context["server_name"])]
    return grpc.secure_channel(context["address"], credentials, options)


def main():
    proto_dir, context, entitlement, subject, csr, out = sys.argv[1:]
    messages, services = stubs(proto_dir)
    stub = services.DeviceKeyStub(channel(json.loads(pathlib.Path(context).read_text())))
    request = messages.ProvisionRequest(
        entitlement=entitlement, subject=subject, csr=pathlib.Path(csr).read_bytes()
    )
    first = stub.Provision(request)
    again = stub.Provision(request)
    if first != again:
        sys.exit("a retry got another answer")
    try:
        stub.Provision(messages.ProvisionRequest(entitlement="ent-0000000000000000", subject=subject))
        sys.exit("an unknown entitlement was accepted")
    except grpc.RpcError as error:
        if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
            sys.exit(f"an unknown entitlement got {error.code()}")
    folder = pathlib.Path(out)
    (folder / "device.der").write_bytes(first.certificate)
    for number, certificate in enumerate(first.chain):
        (folder / f"chain-{number}.der").write_bytes(certificate)
    print(f"unit {first.unit} serial {first.serial}")


if __name__ == "__main__":
    main()
