"""A private Rspamd with rules of the tests' own and none of its modules: nothing is looked up
anywhere, nothing is learned, no controller runs.

GTUBE in the body is rejected, as everywhere.  What else a message gets is told by words in its
Subject (rspamd.lua): reject, rewrite-subject, add-header, greylist get the score of that action;
soft-reject, discard, quarantine are forced, with a message; milter-headers asks for headers to be
added and removed, in every form there is.  The symbol TOLD has in its options what Rspamd was told
of the connection and the envelope: ip=, helo=, from=, rcpt= (of each), user=, host=.
"""

import http.client
import json
from pathlib import Path

from .filter import Filter

_CONF = """\
lua = "{rules}";
lang_detection {{ languages = "{home}/etc"; }}
options {{
  filters = "";
  tempdir = "{home}/tmp";
  hs_cache_dir = "{home}/tmp";
  cache_file = "{home}/tmp/cache";
  control_socket = "{home}/tmp/control mode=0600";
  url_tld = "{home}/etc/tld";
  dns {{ nameserver = ["127.0.0.1:1"]; }}  # nobody
  enable_test_patterns = true;  # all of GTUBE's
  task_timeout = 8s;
  max_message = {max_message};
}}
logging {{ type = "console"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = {workers}; mime = true; }}
worker "controller" {{ enabled = false; }}
worker "hs_helper" {{ enabled = false; }}
actions {{ reject = 15; rewrite_subject = 8; add_header = 6; greylist = 4; discard = {{ flags = ["no_threshold"]; }} quarantine = {{ flags = ["no_threshold"]; }} subject = "*** %s"; }}
"""

_RULES = Path(__file__).with_name("rspamd.lua")


class Rspamd(Filter):
    packages = ("rspamd",)

    def __init__(self, home, workers=1, max_message="50M"):
        super().__init__(home)
        self._conf = self.home / "etc/rspamd.conf"
        (self.home / "etc/tld").write_text("com\nexample\n")  # Debian's takes half a minute
        rules = self.home / "etc/rules.lua"
        rules.write_bytes(_RULES.read_bytes())
        more = {"workers": workers, "max_message": max_message}
        self._conf.write_text(_CONF.format(home=self.home, port=self.port, rules=rules, **more))

    def argv(self):
        share = self.unpacked("usr/share/rspamd")
        places = {"LUALIBDIR": share / "lualib", "SHAREDIR": share}
        places |= dict.fromkeys(("CONFDIR", "LOCAL_CONFDIR", "DBDIR", "RUNDIR"), self.home / "etc")
        told = [word for name, path in places.items() for word in ("--var", f"{name}={path}")]
        return [self.unpacked("usr/bin/rspamd"), "-f", "-c", self._conf, *told]

    def answers(self):
        first = self.check(b"Subject: takes half a second\r\n\r\n")
        return first["action"] == "no action"

    def ask(self, method, path, body=None, headers=(), deadline=30):
        """(status, body) of the reply; headers are pairs, and may come more than once."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=deadline)
        try:
            link.putrequest(method, path)
            for name, value in [*headers, ("Content-Length", str(len(body or b"")))]:
                link.putheader(name, value)
            link.endheaders(body)
            reply = link.getresponse()
            return reply.status, reply.read()
        except http.client.HTTPException as odd:
            raise OSError(f"{odd!r} is no HTTP") from odd
        finally:
            link.close()

    def check(self, raw, headers=(), deadline=30):
        """What it says of a message."""
        status, body = self.ask("POST", "/checkv2", raw, headers, deadline)
        assert status == 200, (status, body)
        return json.loads(body)
