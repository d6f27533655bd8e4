/* crc32.h - the CRC-32 of zlib and PNG (ISO 3309), to check a model file. */
#ifndef DUO_CRC32_H
#define DUO_CRC32_H

#include <stddef.h>
#include <stdint.h>

uint32_t duo_crc32(const uint8_t *data, size_t n);

#endif
