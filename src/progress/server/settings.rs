//! The settings of the jobs.

use clap::Args;

use crate::web::server::units::binary_units;

#[derive(Args, Clone, Debug)]
pub struct ProgressSettings {
    /// Jobs that run at the same time; 64 more may wait.
    #[arg(long, env = "WIREWISE_MAX_JOBS", default_value_t = 4, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_jobs: u32,

    /// The longest file that may be uploaded, in bytes or with a unit: `500MiB`.
    #[arg(long, env = "WIREWISE_MAX_UPLOAD", default_value = "1GiB", value_name = "BYTES", value_parser = binary_units)]
    pub max_upload: u64,
}
