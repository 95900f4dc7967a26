//! The checksum CRC32C (RFC 9260, appendix A; the polynomial of Castagnoli).

/// A checksum in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32c(u32);

impl Crc32c {
    pub(super) const fn new() -> Self {
        Self(!0)
    }

    #[must_use]
    pub(super) fn update(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, byte| {
            TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8)
        }))
    }

    pub(super) const fn finish(self) -> u32 {
        !self.0
    }
}

/// The effect of each byte.
const TABLE: [u32; 256] = {
    // 0x1EDC6F41 with its bits in reverse order.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_algorithm_comes_out() {
        assert_eq!(Crc32c::new().update(b"123456789").finish(), 0xe306_9283);
        assert_eq!(
            Crc32c::new().update(b"1234").update(b"56789").finish(),
            0xe306_9283
        );
        // RFC 3720, B.4.
        assert_eq!(Crc32c::new().update(&[0; 32]).finish(), 0x8a91_36aa);
        assert_eq!(Crc32c::new().update(&[0xff; 32]).finish(), 0x62a8_ab43);
    }
}
