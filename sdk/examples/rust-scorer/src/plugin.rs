//! A safe face for the tables of C: traits to implement, and the functions that a host calls.
//!
//! A panic never leaves one of these functions: it becomes EPP_INTERNAL with its text. What runs
//! concurrently takes &self, so the compiler checks what the header only says.
#![allow(dead_code)]

use crate::abi::*;
use std::ffi::CStr;
use std::os::raw::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Why something failed: a status, and for operators: which, got, want.
pub struct Failure {
    pub code: epp_status,
    pub message: String,
}

impl Failure {
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure {
            code: EPP_INVALID_ARGUMENT,
            message: message.into(),
        }
    }
}

/// The endpoints of a call, by position.
pub struct Candidates<'a>(&'a epp_candidates);

impl<'a> Candidates<'a> {
    pub fn len(&self) -> usize {
        self.0.count as usize
    }
    /// Values of the consumed attribute `i`; empty when an optional one has no producer.
    ///
    /// # Safety
    /// T is the C type of the attribute: i64, f64, u8 (bool) or u32 (symbol).
    pub unsafe fn column<T>(&self, i: usize) -> &'a [T] {
        slice((*self.0.columns.add(i)).values as *const T, self.len())
    }
    /// Whether row `row` of attribute `i` has a value; one without reads as 0.
    pub fn has(&self, i: usize, row: usize) -> bool {
        let column = unsafe { &*self.0.columns.add(i) };
        !column.values.is_null()
            && (column.validity.is_null()
                || unsafe { *column.validity.add(row / 64) } >> (row % 64) & 1 == 1)
    }
    pub fn name(&self, row: usize) -> &'a str {
        let name = unsafe { &(**self.0.endpoints.add(row)).name };
        std::str::from_utf8(unsafe { slice(name.data as *const u8, name.size as usize) })
            .unwrap_or("")
    }
}

/// What stays of the candidates; nothing at first.
pub struct Keep<'a>(&'a mut [u64]);

impl Keep<'_> {
    pub fn set(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }
}

/// Made by `create` from the decoded parameters, in the order of the type's table.
pub trait Plugin: Sized + Send + Sync {
    fn create(params: &[epp_value]) -> Result<Self, Failure>;
    /// How many parameters the table has.
    const PARAMS: usize;
}
pub trait Filter: Plugin {
    fn filter(&self, candidates: &Candidates, keep: &mut Keep) -> Result<(), Failure>;
}
pub trait Scorer: Plugin {
    /// `out` has one score a candidate, 0 at first; 1 is best.
    fn score(&self, candidates: &Candidates, out: &mut [f64]) -> Result<(), Failure>;
}
pub trait Picker: Plugin {
    /// Positions, best first, without repetition; `totals` has one weighted sum a candidate.
    fn pick(&self, candidates: &Candidates, totals: &[f64]) -> Result<Vec<u32>, Failure>;
}

unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if data.is_null() || size == 0 {
        return &[];
    }
    std::slice::from_raw_parts(data, size)
}

/// Fills the caller's error; the text is cut between characters.
unsafe fn fill(err: *mut epp_error, failure: Failure) -> epp_status {
    if !err.is_null() {
        let err = &mut *err;
        let mut end = failure.message.len().min(err.message.len() - 1);
        while !failure.message.is_char_boundary(end) {
            end -= 1;
        }
        for (to, from) in err.message.iter_mut().zip(failure.message[..end].bytes()) {
            *to = from as c_char;
        }
        err.message[end] = 0;
        err.code = failure.code;
    }
    failure.code
}

/// Runs `f`; whatever goes wrong is in `err`.
unsafe fn guard<T>(
    err: *mut epp_error,
    f: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, epp_status> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) => Err(fill(err, failure)),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            // Dropping the payload may panic again.
            std::mem::forget(panic);
            let message = text.unwrap_or_else(|| "panic without a text".to_string());
            Err(fill(
                err,
                Failure {
                    code: EPP_INTERNAL,
                    message,
                },
            ))
        }
    }
}

fn status(result: Result<(), epp_status>) -> epp_status {
    result.err().unwrap_or(EPP_OK)
}

pub unsafe extern "C" fn create<P: Plugin>(
    _host: *const epp_host,
    _name: epp_str,
    values: *const epp_value,
    err: *mut epp_error,
) -> *mut c_void {
    let made = guard(err, || Ok(Box::new(P::create(slice(values, P::PARAMS))?)));
    made.map_or(std::ptr::null_mut(), |plugin| {
        Box::into_raw(plugin) as *mut c_void
    })
}

pub unsafe extern "C" fn destroy<P: Plugin>(plugin: *mut c_void) {
    let _ = guard(std::ptr::null_mut(), || {
        Ok(drop(Box::from_raw(plugin as *mut P)))
    });
}

pub unsafe extern "C" fn filter<P: Filter>(
    plugin: *mut c_void,
    _call: *const epp_call,
    candidates: *const epp_candidates,
    keep: *mut u64,
    err: *mut epp_error,
) -> epp_status {
    status(guard(err, || {
        let candidates = Candidates(&*candidates);
        let words = (candidates.len() + 63) / 64;
        let keep = if words == 0 {
            &mut [][..]
        } else {
            std::slice::from_raw_parts_mut(keep, words)
        };
        (*(plugin as *const P)).filter(&candidates, &mut Keep(keep))
    }))
}

pub unsafe extern "C" fn score<P: Scorer>(
    plugin: *mut c_void,
    _call: *const epp_call,
    candidates: *const epp_candidates,
    out: *mut f64,
    err: *mut epp_error,
) -> epp_status {
    status(guard(err, || {
        let candidates = Candidates(&*candidates);
        let n = candidates.len();
        let out = if n == 0 {
            &mut [][..]
        } else {
            std::slice::from_raw_parts_mut(out, n)
        };
        (*(plugin as *const P)).score(&candidates, out)
    }))
}

pub unsafe extern "C" fn pick<P: Picker>(
    plugin: *mut c_void,
    _call: *const epp_call,
    candidates: *const epp_candidates,
    totals: *const f64,
    picks: *mut u32,
    count: *mut u32,
    err: *mut epp_error,
) -> epp_status {
    status(guard(err, || {
        let candidates = Candidates(&*candidates);
        let chosen = (*(plugin as *const P)).pick(&candidates, slice(totals, candidates.len()))?;
        let n = chosen.len().min(candidates.len());
        std::ptr::copy_nonoverlapping(chosen.as_ptr(), picks, n);
        *count = n as u32;
        Ok(())
    }))
}

/// For get_interface: the table when the id is `id` (with its NUL), else null.
pub unsafe fn answer<T>(
    asked: *const c_char,
    id: &'static [u8],
    table: &'static T,
) -> *const c_void {
    if CStr::from_ptr(asked).to_bytes_with_nul() == id {
        return table as *const T as *const c_void;
    }
    std::ptr::null()
}

/// A constant C string: `c!("text")`.
#[macro_export]
macro_rules! c {
    ($text:expr) => {
        concat!($text, "\0").as_ptr() as *const std::os::raw::c_char
    };
}

/// Candidates for unit tests: columns of f64 or i64, all values present.
#[cfg(test)]
pub mod testing {
    use super::*;

    pub enum Values {
        I64(Vec<i64>),
        F64(Vec<f64>),
    }

    /// Calls `f` with `n` candidates that have these columns.
    pub fn with<R>(n: usize, columns: &[Values], f: impl FnOnce(&Candidates) -> R) -> R {
        let columns: Vec<epp_column> = columns
            .iter()
            .map(|column| epp_column {
                values: match column {
                    Values::I64(values) => values.as_ptr() as *const c_void,
                    Values::F64(values) => values.as_ptr() as *const c_void,
                },
                validity: std::ptr::null(),
                offsets: std::ptr::null(),
            })
            .collect();
        let raw = epp_candidates {
            struct_size: std::mem::size_of::<epp_candidates>() as u32,
            count: n as u32,
            column_count: columns.len() as u32,
            reserved0: 0,
            columns: columns.as_ptr(),
            endpoints: std::ptr::null(),
            slots: std::ptr::null(),
            rows: std::ptr::null(),
            frame: 1,
        };
        f(&Candidates(&raw))
    }

    pub fn kept(n: usize, f: impl FnOnce(&mut Keep)) -> Vec<usize> {
        let mut words = vec![0u64; (n + 63) / 64];
        f(&mut Keep(&mut words));
        (0..n)
            .filter(|i| words[i / 64] >> (i % 64) & 1 == 1)
            .collect()
    }

    pub fn i64_param(value: i64) -> epp_value {
        epp_value {
            r#type: EPP_P_I64,
            present: 1,
            v: epp_any { i64_: value },
        }
    }

    pub fn f64_param(value: f64) -> epp_value {
        epp_value {
            r#type: EPP_P_F64,
            present: 1,
            v: epp_any { f64_: value },
        }
    }
}
