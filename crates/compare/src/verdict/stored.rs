//! A state as bytes: to be kept beside a job, or as a profile of noise.

use super::Verdict;

/// What they begin with; the last byte is the version.
const MAGIC: &[u8; 8] = b"umbra-v\x01";
/// Largest state, unpacked.
const MAX_BYTES: usize = 512 << 20;

impl Verdict {
    /// The state in few bytes: some tens of kilobytes for a service as they are.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let packed = zstd::encode_all(&json[..], 3).unwrap_or_default();
        [&MAGIC[..], &packed].concat()
    }

    /// The state from what [`Verdict::to_bytes`] made, or what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (begin, version) = MAGIC.split_at(7);
        let rest = bytes.strip_prefix(begin).ok_or("not a noise profile or verdict of Umbra")?;
        let rest = rest.strip_prefix(version).ok_or_else(|| {
            let version = rest.first().copied().unwrap_or(0);
            format!("of version {version} of this format, which this Umbra does not read")
        })?;
        let damaged = |error: &dyn std::fmt::Display| format!("damaged: {error}");
        let mut json = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(rest).map_err(|error| damaged(&error))?;
        std::io::Read::read_to_end(&mut std::io::Read::take(decoder, MAX_BYTES as u64), &mut json)
            .map_err(|error| damaged(&error))?;
        serde_json::from_slice(&json).map_err(|error| damaged(&error))
    }
}
