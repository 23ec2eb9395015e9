//! Names.
use std::io::Write;
pub fn list(_g: Option<&str>, _o: &mut impl Write) -> anyhow::Result<u8> {
    Ok(0)
}
pub fn describe(_g: &str, _o: &mut impl Write) -> anyhow::Result<u8> {
    Ok(0)
}
