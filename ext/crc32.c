/* crc32.c - eight bytes at a time with eight tables ("slicing by 8", Kounavis and Berry 2005). */
#include "crc32.h"

#include <string.h>

enum { SLICES = 8 };

/* table[s][b]: the remainder of byte b followed by s zero bytes. 8 KB on the stack, made in microseconds. */
static void make_tables(uint32_t table[SLICES][256])
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t r = b;
        for (int bit = 0; bit < 8; bit++) r = r >> 1 ^ (r & 1 ? 0xEDB88320u : 0);
        table[0][b] = r;
    }
    for (int s = 1; s < SLICES; s++)
        for (int b = 0; b < 256; b++) table[s][b] = table[s - 1][b] >> 8 ^ table[0][table[s - 1][b] & 255];
}

uint32_t duo_crc32(const uint8_t *data, size_t n)
{
    uint32_t table[SLICES][256], crc = 0xFFFFFFFFu;
    make_tables(table);
    for (; n >= 8; n -= 8, data += 8) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + 4, 4);
        low ^= crc;
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
              table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    for (; n; n--) crc = crc >> 8 ^ table[0][(crc ^ *data++) & 255];
    return ~crc;
}
