//! Bytes as the TPM writes them: big-endian, buffers behind a 16-bit length (Part 1, section 4 and Part 2, section 10.4).

/// Builds what is sent. Every method returns the writer, so a structure reads as its specification does.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// With room for any command, so that no secret stays behind in memory that a growing buffer gave back.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(LARGEST))
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A TPM2B: the length in 16 bits, then the bytes.
    pub(crate) fn sized(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).expect("every caller bounds what it sends");
        self.u16(length).raw(bytes)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what was received. What is left over is an error of [`Reader::finish`].
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A TPM2B.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// The length of a list, at most `limit`: memory is never set aside on a stranger's word.
    pub(crate) fn count(&mut self, limit: u32) -> Result<u32, Malformed> {
        match self.u32()? {
            count if count <= limit => Ok(count),
            _ => Err(Malformed::Value),
        }
    }

    /// Bytes that must stand here.
    pub(crate) fn expect(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        match self.take(bytes.len())? == bytes {
            true => Ok(()),
            false => Err(Malformed::Value),
        }
    }

    /// Everything up to the end.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed::Trailing),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// No command of ours is longer.
const LARGEST: usize = 2048;

/// In which way bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// They end too early.
    #[error("it is cut short")]
    Short,
    /// They go on after their end.
    #[error("it goes on after its end")]
    Trailing,
    /// A length, tag or number has a value that it cannot have.
    #[error("it has a value that is not possible")]
    Value,
}
