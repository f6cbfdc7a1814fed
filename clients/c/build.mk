# librqlite, the C client: included by the top Makefile, after the modules and before the unit tests.

# --- as a module, for the unit tests -------------------------------------------------------------
DEPS_clients/c  := core/net core/tls core/base proto
UNIT_OF_client  := clients/c
$(eval $(call MODULE,clients/c))

# --- the libraries: objects of their own, position-independent, with everything hidden but rqlite_* --
PIC        := build/$(VARIANT)-pic
CLIENT_OUT := $(if $(filter release,$(VARIANT)),build/lib,$(BUILD)/lib)
CLIENT_SO  := librqlite.so.0
CLIENT_OBJ := $(patsubst %.c,$(PIC)/%.o,$(wildcard clients/c/*.c))
CLIENT_NEEDS := $(patsubst %.c,$(PIC)/%.o,$(wildcard core/base/*.c core/net/*.c core/tls/*.c)) \
                $(PROTO_GEN:$(GEN)/%.c=$(PIC)/gen/%.o)
CLIENT_LIBS := $(addprefix $(CLIENT_OUT)/,$(CLIENT_SO) librqlite.so librqlite.a)
CLIENT_PC   := libprotobuf-c libevent_core libssl libcrypto

all: $(CLIENT_LIBS)

$(PIC)/gen/%.o: $(GEN)/%.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -fPIC -fvisibility=hidden $(PKG_CFLAGS) $(CFLAGS) -w -c -o $@ $<
$(PIC)/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -fPIC -fvisibility=hidden $(WARN) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# An archive, so that only what the client needs of them is taken.
$(PIC)/needs.a: $(CLIENT_NEEDS)
	rm -f $@; $(AR) rcs $@ $^

# Sanitizers' own symbols come with the program, so only elsewhere nothing may be missing.
$(CLIENT_OUT)/$(CLIENT_SO): $(CLIENT_OBJ) $(PIC)/needs.a clients/c/librqlite.map
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ -Wl,-soname,$(CLIENT_SO) \
	    -Wl,--version-script=clients/c/librqlite.map -Wl,-z,nodelete \
	    $(if $(filter release,$(VARIANT)),-Wl$(comma)-z$(comma)defs) $(CLIENT_OBJ) $(PIC)/needs.a \
	    $(call PKG_LIBS,$(CLIENT_PC))
comma := ,
$(CLIENT_OUT)/librqlite.so: $(CLIENT_OUT)/$(CLIENT_SO)
	ln -sf $(CLIENT_SO) $@

# One object, in which hidden symbols have become local: no name of ours meets one of the program's.
$(PIC)/librqlite.o: $(CLIENT_OBJ) $(PIC)/needs.a
	$(LD) -r -o $@.all $(CLIENT_OBJ) $(PIC)/needs.a
	objcopy --localize-hidden $@.all $@
	rm -f $@.all
$(CLIENT_OUT)/librqlite.a: $(PIC)/librqlite.o
	@mkdir -p $(@D)
	rm -f $@; $(AR) rcs $@ $<

install: install-client
install-client: $(CLIENT_LIBS)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,include lib lib/pkgconfig share/man/man3)
	install -m 644 clients/c/include/rqlite.h $(DESTDIR)$(PREFIX)/include
	install -m 755 $(CLIENT_OUT)/$(CLIENT_SO) $(DESTDIR)$(PREFIX)/lib
	ln -sf $(CLIENT_SO) $(DESTDIR)$(PREFIX)/lib/librqlite.so
	install -m 644 $(CLIENT_OUT)/librqlite.a $(DESTDIR)$(PREFIX)/lib
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION:v%=%)|' clients/c/librqlite.pc.in \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/librqlite.pc
	install -m 644 clients/c/librqlite.3 $(DESTDIR)$(PREFIX)/share/man/man3
.PHONY: install-client

-include $(shell find $(PIC) -name '*.d' 2>/dev/null)
