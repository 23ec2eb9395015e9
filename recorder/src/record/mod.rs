//! Record.
pub mod signals;
pub fn run(_o: &crate::cli::options::Options) -> anyhow::Result<u8> {
    Ok(0)
}
pub fn compact(_o: &std::path::Path) -> anyhow::Result<u8> {
    Ok(0)
}
