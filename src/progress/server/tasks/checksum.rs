//! Computes the checksums of a file while it arrives. The file is hashed, counted and compressed piece by piece, never
//! held, never on disk.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{JobError, Task};
use crate::progress::{result::ChecksumResult, server::job::Job};

/// The maximum number of pieces between the connection and the hashes: enough to keep both busy, and all that is ever
/// held of a file.
const PIECES: usize = 8;
/// An upload that sends nothing for this long has broken off. It must not hold one of the few permits for ever.
pub const STALLED_AFTER: Duration = Duration::from_secs(30);

/// What the upload sends to its job.
pub enum Piece {
    Bytes(Bytes),
    /// The file is complete. If the pieces end without it, the upload has broken off.
    End,
    /// The upload cannot continue; a sentence says why.
    Broken(String),
}

/// The job of one file.
pub struct Checksum {
    name: String,
    pieces: mpsc::Receiver<Piece>,
}

impl Checksum {
    /// The task, and the sender for the file's pieces, in order. Sending waits while the task is behind, and fails once
    /// it has ended.
    pub fn new(name: String) -> (Self, mpsc::Sender<Piece>) {
        let (sender, pieces) = mpsc::channel(PIECES);
        (Self { name, pieces }, sender)
    }
}

impl Task for Checksum {
    type Result = ChecksumResult;

    async fn run(self, job: Job) -> Result<ChecksumResult, JobError> {
        // Hashing occupies a core while it lasts, so it must not run on a thread that serves connections.
        let hashing = tokio::task::spawn_blocking(move || read(self, &job));
        hashing.await.map_err(JobError::broke)?
    }
}

fn read(mut file: Checksum, job: &Job) -> Result<ChecksumResult, JobError> {
    let started = Instant::now();
    let mut sums = Sums::new();
    // Ends with the channel, also when the job is cancelled, since the upload then stops sending.
    while let Some(piece) = file.pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                sums.add(&bytes).map_err(JobError::broke)?;
                job.progress(sums.bytes, "");
            }
            Piece::End => {
                let elapsed_ms = started.elapsed().as_millis() as u64;
                return sums.finish(file.name, elapsed_ms).map_err(JobError::broke);
            }
            Piece::Broken(sentence) => return Err(JobError(sentence)),
        }
        if job.is_cancelled() {
            break;
        }
    }
    Err(JobError(format!(
        "The upload broke off after {} bytes. Send the file again.",
        sums.bytes
    )))
}

/// Everything that is computed from a file.
struct Sums {
    sha256: Sha256,
    blake3: blake3::Hasher,
    gzip: GzEncoder<Count>,
    bytes: u64,
    line_feeds: u64,
    last: u8,
}

impl Sums {
    fn new() -> Self {
        Self {
            sha256: Sha256::new(),
            blake3: blake3::Hasher::new(),
            gzip: GzEncoder::new(Count(0), Compression::default()),
            bytes: 0,
            line_feeds: 0,
            last: b'\n',
        }
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sha256.update(bytes);
        self.blake3.update(bytes);
        self.gzip.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        self.line_feeds += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.last = bytes.last().copied().unwrap_or(self.last);
        Ok(())
    }

    fn finish(self, name: String, elapsed_ms: u64) -> io::Result<ChecksumResult> {
        Ok(ChecksumResult {
            name,
            bytes: self.bytes,
            lines: self.line_feeds + u64::from(self.last != b'\n'),
            sha256: hex(&self.sha256.finalize()),
            blake3: self.blake3.finalize().to_hex().to_string(),
            gzip_bytes: self.gzip.finish()?.0,
            elapsed_ms,
        })
    }
}

/// Counts the written bytes, and drops them.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_of(pieces: &[&[u8]]) -> ChecksumResult {
        let mut sums = Sums::new();
        for piece in pieces {
            sums.add(piece).unwrap();
        }
        sums.finish("file".into(), 0).unwrap()
    }

    #[test]
    fn known_digests() {
        // FIPS 180-2, appendix B.1; the test vectors of BLAKE3 for the same text.
        let abc = sums_of(&[b"a", b"", b"bc"]);
        assert_eq!(
            abc.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            abc.blake3,
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
        assert_eq!((abc.bytes, abc.lines), (3, 1));
        let empty = sums_of(&[]);
        assert_eq!(
            empty.sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!((empty.bytes, empty.lines), (0, 0));
    }

    #[test]
    fn lines_are_counted_across_pieces() {
        for (pieces, lines) in [
            (&[b"a\nb" as &[u8], b"\n"] as &[&[u8]], 2),
            (&[b"a\nb\n", b"c"], 3),
            (&[b"\n\n"], 2),
            (&[b"no end"], 1),
        ] {
            assert_eq!(sums_of(pieces).lines, lines, "{pieces:?}");
        }
    }

    #[test]
    fn the_compressed_length_is_that_of_gzip() {
        let zeros = vec![0; 1 << 20];
        let sums = sums_of(&[&zeros]);
        assert!(sums.gzip_ratio().unwrap() > 500.0, "{sums:?}");
        let mut whole = GzEncoder::new(vec![], Compression::default());
        whole.write_all(&zeros).unwrap();
        assert_eq!(sums.gzip_bytes, whole.finish().unwrap().len() as u64);
    }
}
