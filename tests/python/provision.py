"""A tester program written from the .proto file alone: makes a device's key, provisions the device,
verifies what it got, and confirms it.

Usage: provision.py PROTO_DIR CONTEXT_JSON ENTITLEMENT SUBJECT OUT_DIR

CONTEXT_JSON names address, server_name and the PEM files root, certificate and key.
"""

import importlib
import json
import pathlib
import sys
import tempfile

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_tools import protoc


def stubs(proto_dir):
    """Generates and imports the stubs of the device-key service."""
    out = tempfile.mkdtemp()
    proto = "mintmark/devicekey/v1/device_key.proto"
    outputs = [f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(["protoc", f"-I{proto_dir}", *outputs, proto]) != 0:
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


def request_of(key, subject):
    """The device's PKCS#10 request in DER, signed with its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def public_bytes(key):
    """A public key as SubjectPublicKeyInfo."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, form)


def check(identity, key):
    """The certificate is for this key, and each certificate is issued by the next one."""
    device = x509.load_der_x509_certificate(identity.certificate)
    batch, product = [x509.load_der_x509_certificate(one) for one in identity.chain]
    device.verify_directly_issued_by(batch)
    batch.verify_directly_issued_by(product)
    made = public_bytes(key.public_key())
    if public_bytes(device.public_key()) != made or identity.public_key != made:
        sys.exit("the certificate is for another key")
    for certificate, ca in [(device, False), (batch, True), (product, True)]:
        if is_ca(certificate) != ca:
            sys.exit(f"{certificate.subject}: it must be {ca} that it is a CA")


def is_ca(certificate):
    """A certificate without the extension is none of a CA (RFC 5280, section 4.2.1.9)."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def refused(call, request, code, reason):
    """The call must be refused with exactly this code and reason."""
    try:
        call(request)
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
        if error.code() != code or reason.encode() not in details:
            sys.exit(f"wanted {code} {reason}, got {error.code()} {details}")
    else:
        sys.exit(f"wanted {code} {reason}, got an answer")


def main():
    proto_dir, context, entitlement, subject, out = sys.argv[1:]
    messages, services = stubs(proto_dir)
    stub = services.DeviceKeyStub(channel(json.loads(pathlib.Path(context).read_text())))
    key = ec.generate_private_key(ec.SECP256R1())
    request = messages.ProvisionRequest(
        entitlement=entitlement, subject=subject, csr=request_of(key, subject)
    )
    first = stub.Provision(request)
    if first != stub.Provision(request):
        sys.exit("a retry got another answer")
    check(first, key)

    unknown = messages.ProvisionRequest()
    unknown.CopyFrom(request)
    unknown.entitlement = "ent-0000000000000000"
    refused(stub.Provision, unknown, grpc.StatusCode.NOT_FOUND, "NOT_FOUND")

    confirm = messages.ConfirmRequest(entitlement=entitlement, subject=subject, proof=b"proof")
    refused(stub.Confirm, confirm, grpc.StatusCode.INVALID_ARGUMENT, "PROOF_INVALID")
    confirm.proof = key.sign(first.confirm_message, ec.ECDSA(hashes.SHA256()))
    if stub.Confirm(confirm).state != messages.UNIT_STATE_CONFIRMED:
        sys.exit("the unit is not confirmed")

    folder = pathlib.Path(out)
    (folder / "device.der").write_bytes(first.certificate)
    for number, certificate in enumerate(first.chain):
        (folder / f"chain-{number}.der").write_bytes(certificate)
    print(f"unit {first.unit} serial {first.serial}")


if __name__ == "__main__":
    main()
