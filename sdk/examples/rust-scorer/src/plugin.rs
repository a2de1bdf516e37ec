//! A safe face for the tables of C: traits to implement, and the functions that a host calls.
//!
//! A panic never leaves one of these functions: it becomes EPP_INTERNAL with its text. What runs
//! concurrently takes &self, so the compiler checks what the header only says.
#![allow(dead_code)]

use crate::abi::*;
use std::os::raw::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::{null, null_mut};

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
pub struct Candidates<'a>(pub &'a epp_candidates);

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
pub struct Keep<'a>(pub &'a mut [u64]);

impl Keep<'_> {
    pub fn set(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }
}

/// The text of a string parameter, which the host has checked to be one.
pub fn text_of(value: &epp_value) -> &str {
    let text = unsafe { value.v.str_ };
    std::str::from_utf8(unsafe { slice(text.data as *const u8, text.size as usize) }).unwrap_or("")
}

/// Made by `create` from the decoded parameters, in the order of the type's table.
pub trait Plugin: Sized + Send + Sync {
    fn create(params: &[epp_value]) -> Result<Self, Failure>;
}
pub trait Filter: Plugin {
    fn filter(&self, candidates: &Candidates, keep: &mut Keep) -> Result<(), Failure>;
}
pub trait Scorer: Plugin {
    /// `out` has one score a candidate, 0 at first; 1 is best.
    fn score(&self, candidates: &Candidates, out: &mut [f64]) -> Result<(), Failure>;
}
pub trait Picker: Plugin {
    /// Writes positions to `picks`, best first, without repetition, and says how many. Both slices
    /// have one item a candidate; totals are weighted sums.
    fn pick(
        &self,
        candidates: &Candidates,
        totals: &[f64],
        picks: &mut [u32],
    ) -> Result<usize, Failure>;
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
            // Dropping the payload may panic again; what that carries is not worth a third try.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again);
            }
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

pub unsafe fn create<P: Plugin>(
    values: *const epp_value,
    count: usize,
    err: *mut epp_error,
) -> *mut c_void {
    let made = guard(err, || Ok(Box::new(P::create(slice(values, count))?)));
    made.map_or(null_mut(), |plugin| Box::into_raw(plugin) as *mut c_void)
}

pub unsafe extern "C" fn destroy<P: Plugin>(plugin: *mut c_void) {
    let _ = guard(null_mut(), || Ok(drop(Box::from_raw(plugin as *mut P))));
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
        let n = candidates.len();
        let room = std::slice::from_raw_parts_mut(picks, n);
        let chosen = (*(plugin as *const P)).pick(&candidates, slice(totals, n), room)?;
        *count = chosen.min(n) as u32;
        Ok(())
    }))
}

// ---- Declarations, for library! below ----

/// A constant C string: `c!("text")`.
#[macro_export]
macro_rules! c {
    ($text:expr) => {
        concat!($text, "\0").as_ptr() as *const std::os::raw::c_char
    };
}

type Text = *const c_char;

const fn param(
    r#type: i32,
    name: Text,
    v: epp_any,
    min: f64,
    max: f64,
    doc: Text,
) -> epp_param_spec {
    epp_param_spec {
        struct_size: std::mem::size_of::<epp_param_spec>() as u32,
        r#type,
        flags: 0,
        choice_count: 0,
        name,
        doc,
        choices: null(),
        default_value: epp_value {
            r#type,
            present: 1,
            v,
        },
        min,
        max,
        interface_id: null(),
    }
}
pub const fn int(name: Text, default: i64, min: f64, max: f64, doc: Text) -> epp_param_spec {
    param(EPP_P_I64, name, epp_any { i64_: default }, min, max, doc)
}
pub const fn float(name: Text, default: f64, min: f64, max: f64, doc: Text) -> epp_param_spec {
    param(EPP_P_F64, name, epp_any { f64_: default }, min, max, doc)
}

pub const fn string(name: Text, default: &'static str, doc: Text) -> epp_param_spec {
    let default = epp_str {
        data: default.as_ptr() as Text,
        size: default.len() as u64,
    };
    param(EPP_P_STR, name, epp_any { str_: default }, 0.0, 0.0, doc)
}

/// An attribute of every endpoint that must have a producer.
pub const fn needs(key: Text, r#type: i32, producer: Text) -> epp_attr_spec {
    epp_attr_spec {
        struct_size: std::mem::size_of::<epp_attr_spec>() as u32,
        r#type,
        scope: EPP_SCOPE_ENDPOINT,
        flags: 0,
        key,
        default_producer: producer,
        producer_param: null(),
        schema: null(),
    }
}

pub const fn filter_table<P: Filter>() -> epp_filter {
    epp_filter {
        struct_size: std::mem::size_of::<epp_filter>() as u32,
        reserved0: 0,
        filter: filter::<P>,
    }
}
pub const fn scorer_table<P: Scorer>() -> epp_scorer {
    epp_scorer {
        struct_size: std::mem::size_of::<epp_scorer>() as u32,
        category: EPP_CATEGORY_DISTRIBUTION,
        score: score::<P>,
    }
}
pub const fn picker_table<P: Picker>() -> epp_picker {
    epp_picker {
        struct_size: std::mem::size_of::<epp_picker>() as u32,
        reserved0: 0,
        pick: pick::<P>,
    }
}

/// Pointers to constants, in a static.
pub struct Pointers<T, const N: usize>(pub [*const T; N]);
unsafe impl<T, const N: usize> Sync for Pointers<T, N> {}

pub const fn pointers<T, const N: usize>(to: &'static [T; N]) -> Pointers<T, N> {
    let mut out = [null(); N];
    let mut i = 0;
    while i < N {
        out[i] = &to[i];
        i += 1;
    }
    Pointers(out)
}

/// Defines the library: one type, the records of it, the note, and the entry.
#[macro_export]
macro_rules! library {
    (
        library: $library:expr, type_name: $name:expr, doc: $doc:expr, plugin: $plugin:ty,
        params: [$($param:expr),* $(,)?], consumes: [$($attr:expr),* $(,)?],
        interfaces: [$(($id:ident, $record:ty, $table:expr)),* $(,)?] $(,)?
    ) => {
        mod library_records {
            use super::*;
            use $crate::abi::*;
            #[allow(unused_imports)]
            use $crate::plugin::*;
            use std::ffi::CStr;
                        use std::mem::size_of;
            use std::os::raw::{c_char, c_void};
            use std::ptr::null;

            const PARAM_COUNT: usize = <[&str]>::len(&[$(stringify!($param)),*]);
            const ATTR_COUNT: usize = <[&str]>::len(&[$(stringify!($attr)),*]);
            static PARAMS: [epp_param_spec; PARAM_COUNT] = [$($param),*];
            static CONSUMES: [epp_attr_spec; ATTR_COUNT] = [$($attr),*];
            static PARAM_LIST: Pointers<epp_param_spec, PARAM_COUNT> = pointers(&PARAMS);
            static CONSUMES_LIST: Pointers<epp_attr_spec, ATTR_COUNT> = pointers(&CONSUMES);
            static INTERFACES: Pointers<c_char, { <[&str]>::len(&[$(stringify!($id)),*]) }> =
                Pointers([$($id.as_ptr() as *const c_char),*]);

            unsafe extern "C" fn create_plugin(
                _host: *const epp_host,
                _name: epp_str,
                values: *const epp_value,
                err: *mut epp_error,
            ) -> *mut c_void {
                create::<$plugin>(values, PARAM_COUNT, err)
            }

            unsafe extern "C" fn get_interface(_: *mut c_void, id: *const c_char) -> *const c_void {
                let id = CStr::from_ptr(id).to_bytes_with_nul();
                $(if id == $id {
                    static TABLE: $record = $table;
                    return &TABLE as *const $record as *const c_void;
                })*
                null()
            }

            static TYPES: [epp_plugin_type; 1] = [epp_plugin_type {
                struct_size: size_of::<epp_plugin_type>() as u32,
                flags: 0,
                stability: EPP_STABILITY_BETA,
                param_count: PARAM_COUNT as u32,
                consumes_count: ATTR_COUNT as u32,
                produces_count: 0,
                alias_count: 0,
                interface_count: INTERFACES.0.len() as u32,
                name: c!($name),
                doc: c!($doc),
                deprecated: null(),
                aliases: null(),
                interfaces: INTERFACES.0.as_ptr(),
                params: PARAM_LIST.0.as_ptr(),
                consumes: CONSUMES_LIST.0.as_ptr(),
                produces: null(),
                create: create_plugin,
                destroy: destroy::<$plugin>,
                get_interface,
            }];
            static TYPE_LIST: Pointers<epp_plugin_type, 1> = pointers(&TYPES);
            static MODULE: epp_module = epp_module {
                struct_size: size_of::<epp_module>() as u32,
                flags: 0,
                abi_major: EPP_ABI_MAJOR,
                abi_minor: EPP_ABI_MINOR,
                abi_min_minor: EPP_ABI_MINOR,
                type_count: 1,
                name: c!($library),
                version: c!(env!("CARGO_PKG_VERSION")),
                toolchain: c!("rustc"),
                types: TYPE_LIST.0.as_ptr(),
            };

            #[used]
            #[link_section = ".note.epp"]
            static ABI_NOTE: epp_abi_note = NOTE;

            #[no_mangle]
            pub extern "C" fn epp_plugin_entry_v1(host_major: u32, _minor: u32) -> *const epp_module {
                if host_major == EPP_ABI_MAJOR {
                    &MODULE
                } else {
                    null()
                }
            }
        }
    };
}
