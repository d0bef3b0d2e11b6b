"""Certificates for interoperation tests, written as PEM files into a directory: right ones and wrong ones.

    pki = Pki(directory)
    client = pki.leaf("client", uri="spiffe://cluster.local/ns/apps/sa/client")
    client.cert, client.key, pki.root      paths

Dates are real: the programs on the other side read the machine's clock.
"""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def make_key(kind):
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    raise ValueError(kind)


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


class Leaf:
    def __init__(self, cert, key):
        self.cert = str(cert)
        self.key = str(key)


class Pki:
    def __init__(self, directory, name="Test root", kind="p256"):
        self.directory = pathlib.Path(directory)
        self.now = datetime.datetime.utcnow()
        self.key = make_key(kind)
        self.name = name_of(name)
        builder = self._builder(self.name, self.name, self.key.public_key(), days=3650)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = builder.add_extension(key_id, critical=False)
        self.root = str(self._write(name.replace(" ", "-").lower() + ".pem", self._pem(builder)))

    def leaf(self, file, uri=None, kind="p256", expired=False):
        key = make_key(kind)
        builder = self._builder(name_of(None if uri else file), self.name, key.public_key(), days=1, expired=expired)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        if uri:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
            builder = builder.add_extension(names, critical=True)
        cert = self._write(file + ".pem", self._pem(builder))
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
        return Leaf(cert, self._write(file + ".key", pem))

    def _builder(self, subject, issuer, public_key, days, expired=False):
        end = self.now - datetime.timedelta(minutes=1) if expired else self.now + datetime.timedelta(days=days)
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(self.now - datetime.timedelta(hours=1)).not_valid_after(end))

    def _pem(self, builder):
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, file, content):
        path = self.directory / file
        path.write_bytes(content)
        path.chmod(0o600)
        return path
