/* SPDX-License-Identifier: MIT */
/*
 * crc32c: the Castagnoli CRC (RFC 3720, appendix B.4), by the processor's instruction
 * where it has one (SSE 4.2), else by table.  Pure; any thread.
 */
#ifndef CORE_BASE_CRC32C_H
#define CORE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of data continued from crc; start with 0.  crc32c(crc32c(0,a),b) == crc32c(0,ab).
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
