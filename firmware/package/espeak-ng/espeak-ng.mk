################################################################################
#
# espeak-ng
#
################################################################################

ESPEAK_NG_VERSION = 1.52.0
ESPEAK_NG_SITE = $(call github,espeak-ng,espeak-ng,$(ESPEAK_NG_VERSION))
ESPEAK_NG_LICENSE = GPL-3.0+, Unicode-DFS-2016 (ucd-tools)
ESPEAK_NG_LICENSE_FILES = COPYING COPYING.UCD
ESPEAK_NG_INSTALL_STAGING = YES
ESPEAK_NG_SUPPORTS_IN_SOURCE_BUILD = NO

# The data is made by the program itself, so by one for the host.
ESPEAK_NG_DEPENDENCIES = host-espeak-ng

# Two names for sonic keep cmake from downloading it, though it is not used.
ESPEAK_NG_CONF_OPTS = \
	-DSONIC_LIB=unused \
	-DSONIC_INC=unused \
	-DUSE_LIBSONIC=OFF \
	-DUSE_LIBPCAUDIO=OFF \
	-DUSE_MBROLA=OFF \
	-DUSE_SPEECHPLAYER=OFF
HOST_ESPEAK_NG_CONF_OPTS = $(ESPEAK_NG_CONF_OPTS)

# Dictionaries of a hundred languages take minutes and 13 MB.
define HOST_ESPEAK_NG_ONLY_ENGLISH
	$(SED) '/^list(APPEND _dict_compile_list/,/^)/c list(APPEND _dict_compile_list en)' \
		$(@D)/cmake/data.cmake
endef
HOST_ESPEAK_NG_POST_PATCH_HOOKS += HOST_ESPEAK_NG_ONLY_ENGLISH

ESPEAK_NG_BUILD_OPTS = --target espeak-ng

define ESPEAK_NG_INSTALL_STAGING_CMDS
	cp -dpf $(@D)/buildroot-build/src/libespeak-ng/libespeak-ng.so* $(STAGING_DIR)/usr/lib/
	cp -rpf $(@D)/src/include/espeak-ng $(STAGING_DIR)/usr/include/
endef

ESPEAK_NG_DATA = \
	en_dict \
	intonations \
	lang/gmw/en-US \
	phondata \
	phonindex \
	phontab \
	voices/!v/f3 \
	voices/!v/klatt2

define ESPEAK_NG_INSTALL_TARGET_CMDS
	cp -dpf $(@D)/buildroot-build/src/libespeak-ng/libespeak-ng.so* $(TARGET_DIR)/usr/lib/
	$(foreach file,$(ESPEAK_NG_DATA), \
		$(INSTALL) -D -m 0644 '$(HOST_DIR)/share/espeak-ng-data/$(file)' \
			'$(TARGET_DIR)/usr/share/espeak-ng-data/$(file)'$(sep))
endef

$(eval $(cmake-package))
$(eval $(host-cmake-package))
