//! The engine as the Python module `lkpy._engine`: conversion only.

use pyo3::prelude::*;

/// The media engine.
#[pymodule]
fn _engine(_m: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
