//! The engine as the Python module `lkpy._engine`: conversion only.
//!
//! Commands and events are the dataclasses of `lkpy.engine.api`; [`commands`] reads the former by
//! attribute, [`events`] builds the latter. `lkpy.engine.native` puts the `Engine` protocol around it.

mod allocation;
mod commands;
mod config;
mod events;

use std::os::fd::AsRawFd;

use pyo3::prelude::*;
use pyo3::types::PyList;

use engine::api::{EngineError, Fault};

/// Running workers. `config` is an `EngineConfig`.
#[pyclass(frozen, module = "lkpy._engine")]
struct Engine {
    engine: engine::Engine,
    info: Py<PyAny>,
    events: events::Builder,
}

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let config = config::read(config)?;
        let engine = py.detach(|| engine::Engine::start(config));
        let engine = engine.map_err(|error| to_python(py, &error))?;
        Ok(Self {
            info: config::info(py, engine.info())?,
            engine,
            events: events::Builder::new(py)?,
        })
    }

    /// The `EngineInfo`.
    #[getter]
    fn info(&self, py: Python<'_>) -> Py<PyAny> {
        self.info.clone_ref(py)
    }

    /// Queues commands in order, all or none.
    fn submit(&self, commands: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = commands.py();
        let mut taken = Vec::new();
        let mut refused = Vec::new();
        for command in commands.try_iter()? {
            match commands::read(&command?)? {
                Ok(command) => taken.push(command),
                Err(command) => refused.push(command),
            }
        }
        let submitted = self.engine.submit(taken);
        submitted.map_err(|error| to_python(py, &error))?;
        for command in refused {
            let commands::Refused {
                class,
                subject,
                message,
            } = command;
            self.engine.refuse(class, subject, message);
        }
        Ok(())
    }

    /// Takes up to `limit` waiting events, oldest first.
    #[pyo3(signature = (limit=1024))]
    fn drain<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let events = PyList::empty(py);
        for event in self.engine.drain(limit) {
            events.append(self.events.build(py, event)?)?;
        }
        Ok(events)
    }

    /// A descriptor that polls readable while events wait.
    fn fileno(&self) -> i32 {
        self.engine.as_raw_fd()
    }

    /// Lets a worker fail: `panic`, `hang`, `recover` or `die`. For tests.
    fn inject_fault(&self, py: Python<'_>, worker: usize, fault: &str) -> PyResult<()> {
        let fault = match fault {
            "panic" => Fault::Panic,
            "hang" => Fault::Hang,
            "recover" => Fault::Recover,
            "die" => Fault::Die,
            _ => {
                let message = format!("there is no fault {fault:?}");
                return Err(pyo3::exceptions::PyValueError::new_err(message));
            }
        };
        let injected = self.engine.inject_fault(worker, fault);
        injected.map_err(|error| to_python(py, &error))
    }

    /// Stops the workers, waiting at most two seconds.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine.close());
    }
}

/// `lkpy.errors.LkpyError` for an error of the engine.
fn to_python(py: Python<'_>, error: &EngineError) -> PyErr {
    let raise = || -> PyResult<PyErr> {
        let errors = py.import("lkpy.errors")?;
        let code = errors.getattr("Code")?.call1((error.code.as_str(),))?;
        let kwargs = pyo3::types::PyDict::new(py);
        kwargs.set_item("blame", errors.getattr("Blame")?.getattr("OPERATOR")?)?;
        let raised = errors
            .getattr("LkpyError")?
            .call((code, error.message.as_str()), Some(&kwargs))?;
        Ok(PyErr::from_value(raised))
    };
    raise().unwrap_or_else(|failure| failure)
}

/// The media engine.
#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Engine>()
}
