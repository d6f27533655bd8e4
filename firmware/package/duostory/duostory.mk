################################################################################
#
# duostory
#
################################################################################

# The checkout that this folder is in.
DUOSTORY_SITE = $(BR2_EXTERNAL_DUOSTORY_PATH)/..
DUOSTORY_SITE_METHOD = local
DUOSTORY_VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' \
	$(BR2_EXTERNAL_DUOSTORY_PATH)/../duostory/__init__.py)
DUOSTORY_SETUP_TYPE = setuptools
DUOSTORY_LICENSE = MIT
DUOSTORY_LICENSE_FILES = LICENSE
DUOSTORY_DEPENDENCIES = host-python-cffi

# What has been built or installed in the checkout is for another machine.
DUOSTORY_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude=/.venv \
	--exclude=/build \
	--exclude=/firmware \
	--exclude=/tests \
	--exclude='*.so' \
	--exclude='*.egg-info' \
	--exclude=__pycache__

# Setuptools before 77, as in Buildroot 2025.02, wants the licence written otherwise.
define DUOSTORY_OLDER_SETUPTOOLS
	$(SED) 's/^license = "MIT"/license = { text = "MIT" }/' \
		-e '/^license-files = /d' \
		-e 's/"setuptools>=77"/"setuptools"/' \
		$(@D)/pyproject.toml
endef
DUOSTORY_POST_RSYNC_HOOKS += DUOSTORY_OLDER_SETUPTOOLS

DUOSTORY_ENV = \
	CFLAGS="$(TARGET_CFLAGS) $(call qstrip,$(BR2_PACKAGE_DUOSTORY_CFLAGS))"

define DUOSTORY_INSTALL_SOUND
	$(INSTALL) -D -m 0755 $(DUOSTORY_PKGDIR)/sound-card \
		$(TARGET_DIR)/usr/libexec/duostory/sound-card
	$(INSTALL) -D -m 0644 $(DUOSTORY_PKGDIR)/asound.conf \
		$(TARGET_DIR)/etc/asound.conf
endef
DUOSTORY_POST_INSTALL_TARGET_HOOKS += DUOSTORY_INSTALL_SOUND

define DUOSTORY_INSTALL_STATE
	$(INSTALL) -D -m 0755 $(DUOSTORY_PKGDIR)/state \
		$(TARGET_DIR)/usr/libexec/duostory/state
endef
DUOSTORY_POST_INSTALL_TARGET_HOOKS += DUOSTORY_INSTALL_STATE

# What DUOSTORY_POCKETSPHINX names: library, grammars, and of the acoustic model what they need.
ifeq ($(BR2_PACKAGE_DUOSTORY_EAR),y)
DUOSTORY_DEPENDENCIES += pocketsphinx
DUOSTORY_HEARING = $(TARGET_DIR)/usr/share/duostory/hearing

define DUOSTORY_INSTALL_EAR
	mkdir -p $(DUOSTORY_HEARING)
	ln -sfn ../../../lib/libpocketsphinx.so $(DUOSTORY_HEARING)/libpocketsphinx.so
	$(INSTALL) -D -m 0644 $(DUOSTORY_PKGDIR)/default \
		$(TARGET_DIR)/etc/profile.d/duostory.sh
	$(HOST_DIR)/bin/python3 $(@D)/scripts/grammar \
		$(STAGING_DIR)/$(POCKETSPHINX_MODEL)/en-us \
		$(STAGING_DIR)/$(POCKETSPHINX_MODEL)/cmudict-en-us.dict $(DUOSTORY_HEARING)
endef
DUOSTORY_POST_INSTALL_TARGET_HOOKS += DUOSTORY_INSTALL_EAR
endif

define DUOSTORY_USERS
	duostory -1 duostory -1 * - - audio Story teller
endef

ifeq ($(BR2_PACKAGE_DUOSTORY_AUTOSTART),y)
define DUOSTORY_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(DUOSTORY_PKGDIR)/S95duostory \
		$(TARGET_DIR)/etc/init.d/S95duostory
	$(if $(BR2_PACKAGE_DUOSTORY_EAR),$(INSTALL) -D -m 0644 $(DUOSTORY_PKGDIR)/default \
		$(TARGET_DIR)/etc/default/duostory)
endef

define DUOSTORY_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(DUOSTORY_PKGDIR)/duostory.service \
		$(TARGET_DIR)/usr/lib/systemd/system/duostory.service
	$(INSTALL) -D -m 0644 $(DUOSTORY_PKGDIR)/60-duostory.rules \
		$(TARGET_DIR)/usr/lib/udev/rules.d/60-duostory.rules
	$(if $(BR2_PACKAGE_DUOSTORY_EAR),$(INSTALL) -D -m 0644 $(DUOSTORY_PKGDIR)/ear.conf \
		$(TARGET_DIR)/usr/lib/systemd/system/duostory.service.d/ear.conf)
endef
endif

$(eval $(python-package))
