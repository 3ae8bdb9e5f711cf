// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include "lib/tap.h"

TEST(fields_are_little_endian)
{
	_cleanup_buf_ struct buf b = { 0 };
	static const uint8_t want[] = { 0x01, 0x03, 0x02, 0x07, 0x06, 0x05,
					0x04, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b,
					0x0a, 0x09, 0x08 };

	buf_put_u8(&b, 0x01);
	buf_put_u16(&b, 0x0203);
	buf_put_u32(&b, 0x04050607);
	buf_put_u64(&b, 0x08090a0b0c0d0e0fULL);
	ASSERT_U64(b.len, sizeof(want));
	EXPECT_MEM(b.data, want, sizeof(want));
}
