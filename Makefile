# popferry. `make help` lists the targets.
PREFIX   ?= /usr/local
DESTDIR  ?=
BUILD    ?= build
CC       ?= cc
PYTHON   ?= /usr/bin/python3
VERSION  := 0.1.0

LIBRARIES := libevent libevent_openssl openssl libzmq sqlite3 libsodium gmime-3.0 jansson libconfuse libgsasl
ifeq ($(filter help deps clean,$(or $(MAKECMDGOALS),help)),)
PKG_CFLAGS := $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null | sed 's/-I\//-isystem \//g')
PKG_LIBS   := $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null)
endif

OPTIMISE ?= -O2 -g
HARDEN   := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE
WARN     := -Wall -Wextra -Wshadow -Wformat=2 -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wwrite-strings -Wundef -Werror
CPPFLAGS += -D_GNU_SOURCE -I. -DPOPFERRY_VERSION='"$(VERSION)"'
CFLAGS   += -std=c17 $(OPTIMISE) $(WARN) $(if $(SANITIZE),$(SANITIZE) -fno-omit-frame-pointer -fPIE,$(HARDEN))
LDFLAGS  += -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(SANITIZE)

PROGRAMS := fetcherd hygiene relayd popferryctl
DIR_fetcherd := fetcherd
DIR_hygiene  := hygiene
DIR_relayd   := relayd
DIR_popferryctl := ctl

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard $(1)/*.c))
COMMON  := $(BUILD)/spool.a $(BUILD)/lib.a

# V=1 shows the commands.
Q   := $(if $(V),,@)
say  = $(if $(V),,@echo '  $(1)')

all: $(PROGRAMS:%=$(BUILD)/bin/%)

help:
	@printf '%s\n' \
	'make run              a demonstration: mail moves from a private POP3 server to a private SMTP server' \
	'make run CONFIG=FILE  the three daemons on a configuration of your own, until Ctrl-C' \
	'make test             all tests: units, and end to end against real Dovecot and Postfix' \
	'make check            format, clang-tidy, cppcheck, and unit tests and corpus under ASan and UBSan' \
	'make bench            what relayd takes of memory with a million files queued (some 3 minutes, 5 GB of /dev/shm)' \
	'make all              build/bin/{fetcherd,hygiene,relayd,popferryctl}' \
	'make deps             install what is needed from Debian (says what; asks sudo when you are not root)' \
	'make install          into $$(DESTDIR)$$(PREFIX), by default /usr/local' \
	'make clean            remove build/ and run/'

# --- programs ---------------------------------------------------------------------------------------------------
$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc $<)
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.a:
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/lib.a: $(call objects,lib)
$(BUILD)/spool.a: $(call objects,spool)
$(foreach d,fetcherd hygiene relayd ctl,$(eval $(BUILD)/$(d).a: $(filter-out %/main.o,$(call objects,$(d)))))

define program
$(BUILD)/bin/$(1): $(BUILD)/obj/$(DIR_$(1))/main.o $(BUILD)/$(DIR_$(1)).a $(COMMON)
	@mkdir -p $$(@D)
	$$(call say,ld $$@)
	$(Q)$(CC) $(LDFLAGS) -o $$@ $$^ $(PKG_LIBS) -lpthread
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

# --- unit tests -------------------------------------------------------------------------------------------------
UNIT_SOURCES := $(wildcard tests/unit/*/test_*.c)
UNITS        := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SOURCES))
unit_folder   = $(firstword $(subst /, ,$(1)))

.SECONDEXPANSION:
$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $$(if $$(filter lib,$$(call unit_folder,$$*)),,$$(filter-out $(BUILD)/spool.a,$(BUILD)/$$(call unit_folder,$$*).a)) $(COMMON)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka -lpthread

unit-build: $(UNITS)

unit: unit-build
	@POPFERRY_DATA=$(CURDIR)/tests/data tests/unit/run $(UNITS)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# --- what people call -------------------------------------------------------------------------------------------
SOURCES := $(wildcard lib/*.[ch] spool/*.[ch] fetcherd/*.[ch] hygiene/*.[ch] relayd/*.[ch] ctl/*.[ch] tests/unit/*/*.[ch])

PACKAGES := build-essential pkg-config libevent-dev libssl-dev libzmq3-dev libsqlite3-dev libsodium-dev libgmime-3.0-dev \
            libjansson-dev libconfuse-dev libgsasl-dev libcmocka-dev clang-format clang-tidy cppcheck python3 python3-pytest python3-pytest-xdist python3-zmq \
            dovecot-core dovecot-pop3d dovecot-lmtpd libgnutls-dane0 cyrus-common libsasl2-modules sasl2-bin mailutils-pop3d postfix s6 fakeroot openssl
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Postfix comes without a configuration, so that installing it starts no mail server; tests bring their own.
# What would become a service all the same is not installed: tests.harness.package unpacks it below build/.
deps:
	@missing=$$(for p in $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	    echo "make deps: installing from Debian:" $$missing; \
	    echo 'postfix postfix/main_mailer_type select No configuration' | $(SUDO) debconf-set-selections; \
	    $(SUDO) apt-get update -q && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends $$missing; \
	fi
	@$(PYTHON) -B -m tests.harness.package

run: deps
	@$(MAKE) --no-print-directory all
	@$(PYTHON) -B -m tests.demo $(if $(CONFIG),--config '$(CONFIG)')

test: deps
	@$(MAKE) --no-print-directory all unit
	@$(PYTHON) -B -m pytest -q -n 4 -p no:cacheprovider tests/e2e

# FILES=N for another number, DIR=PATH where /dev/shm is too small.
bench: deps
	@$(MAKE) --no-print-directory all
	@$(PYTHON) -B -m tests.bench.queue_memory $(FILES) $(if $(DIR),--dir '$(DIR)')

check: deps
	@$(MAKE) --no-print-directory check-format check-tidy check-cppcheck check-unit check-corpus

check-format:
	@echo 'format: clang-format'
	@clang-format --dry-run --Werror $(SOURCES)

check-tidy:
	@echo 'lint: clang-tidy'
	@printf '%s\n' $(filter %.c,$(filter-out tests/%,$(SOURCES))) | \
	    xargs -P 2 -n 6 sh -c 'clang-tidy --quiet "$$@" -- -std=c17 $(CPPFLAGS_TIDY) $(PKG_CFLAGS) 2>/dev/null' clang-tidy

check-cppcheck:
	@echo 'lint: cppcheck'
	@cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr -D_GNU_SOURCE -I. \
	    '-Djson_array_foreach(a,i,v)=for(;;)' '-Djson_object_foreach(o,k,v)=for(;;)' \
	    --enable=warning,performance,portability -j 2 lib spool fetcherd hygiene relayd ctl

check-unit:
	@echo 'unit tests, with AddressSanitizer and UndefinedBehaviorSanitizer'
	@$(MAKE) --no-print-directory $(WITH_SANITIZERS) unit

check-corpus:
	@echo 'the corpus through all programs, with the same'
	@$(MAKE) --no-print-directory $(WITH_SANITIZERS) all
	@LSAN_OPTIONS=suppressions=$(CURDIR)/tests/data/leaks ASAN_OPTIONS=fast_unwind_on_malloc=0 \
	    POPFERRY_BIN=$(BUILD)/asan/bin $(PYTHON) -B -m pytest -q -n 2 -p no:cacheprovider tests/e2e/test_corpus.py

WITH_SANITIZERS := BUILD=$(BUILD)/asan OPTIMISE='-O1 -g' \
    SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'

CPPFLAGS_TIDY := -D_GNU_SOURCE -I. -DPOPFERRY_VERSION=\"$(VERSION)\"

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8 \
	    $(DESTDIR)$(PREFIX)/share/doc/popferry $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0755 $(PROGRAMS:%=$(BUILD)/bin/%) $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 docs/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 0644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 0644 README.md docs/INTERNALS.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/popferry/
	for d in fetcherd hygiene relayd; do \
	    sed 's,/usr/local/bin/,$(PREFIX)/bin/,' $$d/$$d.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/popferry-$$d.service && \
	    install -d $(DESTDIR)$(PREFIX)/share/popferry/s6/$$d && \
	    cp -r $$d/s6/. $(DESTDIR)$(PREFIX)/share/popferry/s6/$$d/ || exit 1; done

clean:
	rm -rf $(BUILD) run

.PHONY: all help deps run test bench check check-format check-tidy check-cppcheck check-unit check-corpus unit unit-build install clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
