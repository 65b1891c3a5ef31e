"""A certificate authority for an afternoon, made with the openssl command."""

import hashlib
import subprocess
from pathlib import Path


def _openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


class Authority:
    """ca.crt in `home`, and certificates for loopback names signed by it."""

    def __init__(self, home):
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.cert = self.home / "ca.crt"
        self._key = self.home / "ca.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "30", "-subj", "/CN=popferry test authority"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-keyout", self._key, "-out", self.cert),
        )

    def issue(self, name="localhost", alt="DNS:localhost,IP:127.0.0.1", days=20):
        """(certificate, key) for `name`; a negative number of days makes it expired."""
        cert, key, csr = (self.home / f"{name}.{ext}" for ext in ("crt", "key", "csr"))
        ext = self.home / f"{name}.ext"
        ext.write_text(f"subjectAltName={alt}\nbasicConstraints=CA:FALSE\n")
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", key, "-out", csr),
        )
        _openssl(
            *("x509", "-req", "-in", csr, "-CA", self.cert, "-CAkey", self._key),
            *("-CAcreateserial", "-days", days, "-extfile", ext, "-out", cert),
        )
        key.chmod(0o644)  # read by the servers' own users; it protects nothing
        return cert, key

    def issue_for_later(self, name="later", alt="DNS:localhost,IP:127.0.0.1"):
        """(certificate, key) that is valid from 2040 on."""
        _, key = self.issue(name, alt)
        csr, cert = (self.home / f"{name}.{ext}" for ext in ("csr", "crt"))
        conf, index, serial = (self.home / part for part in ("ca.conf", "index", "serial"))
        conf.write_text(
            "[ca]\ndefault_ca=here\n[here]\n"
            f"database={index}\nserial={serial}\nnew_certs_dir={self.home}\n"
            "default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n"
        )
        index.write_text("")
        serial.write_text("77\n")
        _openssl(
            *("ca", "-batch", "-notext", "-config", conf, "-cert", self.cert),
            *("-keyfile", self._key, "-in", csr, "-out", cert),
            *("-extfile", self.home / f"{name}.ext"),
            *("-startdate", "20400101000000Z", "-enddate", "20410101000000Z"),
        )
        return cert, key


def self_signed(home, name="selfsigned", alt="DNS:localhost,IP:127.0.0.1", days=20):
    """(certificate, key) that nobody vouches for."""
    cert, key, csr, ext = (Path(home) / f"{name}.{end}" for end in ("crt", "key", "csr", "ext"))
    ext.write_text(f"subjectAltName={alt}\nbasicConstraints=CA:FALSE\n")
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", f"/CN={name}", "-keyout", key, "-out", csr),
    )
    _openssl(
        *("x509", "-req", "-in", csr, "-signkey", key, "-days", days),
        *("-extfile", ext, "-out", cert),
    )
    return cert, key


def pin_of(cert):
    """The pin of its public key, as --pin takes it, in hexadecimal."""
    run = {"check": True, "capture_output": True}
    pem = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-pubkey"], **run).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, **run).stdout
    return "sha256:" + hashlib.sha256(der).hexdigest()
