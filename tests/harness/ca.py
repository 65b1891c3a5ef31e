"""A certificate authority for an afternoon, made with the openssl command."""

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
