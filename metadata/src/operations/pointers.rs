//! Named values.

use crate::{error::Result, rows::Rows};

/// Forgets named values.
pub(crate) async fn delete(rows: &mut dyn Rows, names: &[String]) -> Result<()> {
    for name in names {
        rows.delete_pointer(name).await?;
    }
    Ok(())
}
