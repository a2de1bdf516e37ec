//! The part of epp/abi.h that filters, scorers and pickers need, by hand. Names are those of C.
//!
//! Each record states its size, which is checked when this compiles; `cargo test` prints every
//! offset, so that a test can compare them with the header's. Comments are in the header.
#![allow(non_camel_case_types, dead_code)]

use std::os::raw::{c_char, c_void};

pub const EPP_ABI_MAJOR: u32 = 1;
pub const EPP_ABI_MINOR: u32 = 0; // what this file was written after, and all that it needs

pub type epp_status = i32;
pub const EPP_OK: epp_status = 0;
pub const EPP_INVALID_ARGUMENT: epp_status = 3;
pub const EPP_INTERNAL: epp_status = 13;
pub const EPP_UNAVAILABLE: epp_status = 14;

pub const EPP_P_BOOL: i32 = 1;
pub const EPP_P_I64: i32 = 2;
pub const EPP_P_F64: i32 = 3;
pub const EPP_P_STR: i32 = 4;

pub const EPP_T_I64: i32 = 1;
pub const EPP_T_F64: i32 = 2;
pub const EPP_T_BOOL: i32 = 3;
pub const EPP_T_SYMBOL: i32 = 4;
pub const EPP_SCOPE_ENDPOINT: u32 = 1;
pub const EPP_SCOPE_REQUEST: u32 = 2;
pub const EPP_ATTR_OPTIONAL: u32 = 1;

pub const EPP_STABILITY_BETA: u32 = 2;
pub const EPP_STABILITY_STABLE: u32 = 3;
pub const EPP_CATEGORY_DISTRIBUTION: u32 = 2;

pub const EPP_FILTER_ID: &[u8] = b"epp.filter/1\0";
pub const EPP_SCORER_ID: &[u8] = b"epp.scorer/1\0";
pub const EPP_PICKER_ID: &[u8] = b"epp.picker/1\0";

/// Defines the records and, for tests, layout(): of each its name, size and fields with offsets.
macro_rules! records {
    ($(struct $name:ident [$size:literal] { $($field:ident: $type:ty,)* })*) => {
        $(
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $type,)* }
            const _: () = assert!(std::mem::size_of::<$name>() == $size);
            // Constant tables hold pointers to constants only.
            unsafe impl Sync for $name {}
        )*
        #[cfg(test)]
        pub fn layout() -> Vec<(&'static str, usize, Vec<(&'static str, usize)>)> {
            vec![$({
                let record = std::mem::MaybeUninit::<$name>::uninit();
                let base = record.as_ptr();
                let fields = vec![$((
                    stringify!($field),
                    unsafe { std::ptr::addr_of!((*base).$field) as usize - base as usize },
                )),*];
                (stringify!($name), std::mem::size_of::<$name>(), fields)
            }),*]
        }
    };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct epp_list {
    pub items: *const epp_str,
    pub count: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub union epp_any {
    pub i64_: i64,
    pub f64_: f64,
    pub str_: epp_str,
    pub list: epp_list,
}

pub type EntryFn = unsafe extern "C" fn(u32, u32) -> *const epp_module;

records! {
    struct epp_str [16] { data: *const c_char, size: u64, }
    struct epp_column [24] { values: *const c_void, validity: *const u64, offsets: *const u32, }
    struct epp_header [32] { name: epp_str, value: epp_str, }
    struct epp_value [24] { r#type: i32, present: u32, v: epp_any, }
    struct epp_error [512] { struct_size: u32, code: epp_status, message: [c_char; 504], }
    struct epp_param_spec [88] {
        struct_size: u32,
        r#type: i32,
        flags: u32,
        choice_count: u32,
        name: *const c_char,
        doc: *const c_char,
        choices: *const *const c_char,
        default_value: epp_value,
        min: f64,
        max: f64,
        interface_id: *const c_char,
    }
    struct epp_attr_spec [48] {
        struct_size: u32,
        r#type: i32,
        scope: u32,
        flags: u32,
        key: *const c_char,
        default_producer: *const c_char,
        producer_param: *const c_char,
        schema: *const c_char,
    }
    struct epp_label [32] { key: epp_str, value: epp_str, }
    struct epp_endpoint [88] {
        struct_size: u32,
        slot: u32,
        id: u64,
        name: epp_str,
        address: epp_str,
        host_port: epp_str,
        port: u32,
        rank: u32,
        labels: *const epp_label,
        label_count: u32,
        reserved0: u32,
    }
    struct epp_call [72] {
        struct_size: u32,
        worker: u32,
        now_ns: u64,
        deadline_ns: u64,
        request: *const c_void,
        request_columns: *const epp_column,
        state: *mut *mut c_void,
        arena: *mut c_void,
        alloc: unsafe extern "C" fn(*mut c_void, u64, u64) -> *mut c_void,
        keep: unsafe extern "C" fn(*mut c_void, u64, u64) -> *mut c_void,
    }
    struct epp_candidates [56] {
        struct_size: u32,
        count: u32,
        column_count: u32,
        reserved0: u32,
        columns: *const epp_column,
        endpoints: *const *const epp_endpoint,
        slots: *const u32,
        rows: *const u32,
        frame: u64,
    }
    struct epp_host [120] {
        struct_size: u32,
        abi_minor: u32,
        worker_count: u32,
        reserved0: u32,
        ctx: *mut c_void,
        log_enabled: unsafe extern "C" fn(*mut c_void, i32) -> i32,
        log: unsafe extern "C" fn(*mut c_void, i32, epp_str),
        mono_ns: unsafe extern "C" fn(*mut c_void) -> u64,
        unix_ns: unsafe extern "C" fn(*mut c_void) -> u64,
        random_u64: unsafe extern "C" fn(*mut c_void) -> u64,
        intern: unsafe extern "C" fn(*mut c_void, epp_str) -> u32,
        find: unsafe extern "C" fn(*mut c_void, epp_str) -> u32,
        symbol_text: unsafe extern "C" fn(*mut c_void, u32) -> epp_str,
        metric_register: unsafe extern "C" fn(
            *mut c_void, i32, epp_str, epp_str, *const epp_str, u32, *const f64, u32, *mut epp_error,
        ) -> u64,
        metric_series: unsafe extern "C" fn(*mut c_void, u64, *const epp_str, u32) -> u64,
        metric_add: unsafe extern "C" fn(*mut c_void, u64, f64),
        get_extension: unsafe extern "C" fn(*mut c_void, *const c_char) -> *const c_void,
    }
    struct epp_filter [16] {
        struct_size: u32,
        reserved0: u32,
        filter: unsafe extern "C" fn(
            *mut c_void, *const epp_call, *const epp_candidates, *mut u64, *mut epp_error,
        ) -> epp_status,
    }
    struct epp_scorer [16] {
        struct_size: u32,
        category: u32,
        score: unsafe extern "C" fn(
            *mut c_void, *const epp_call, *const epp_candidates, *mut f64, *mut epp_error,
        ) -> epp_status,
    }
    struct epp_picker [16] {
        struct_size: u32,
        reserved0: u32,
        pick: unsafe extern "C" fn(
            *mut c_void, *const epp_call, *const epp_candidates, *const f64, *mut u32, *mut u32,
            *mut epp_error,
        ) -> epp_status,
    }
    struct epp_plugin_type [120] {
        struct_size: u32,
        flags: u32,
        stability: u32,
        param_count: u32,
        consumes_count: u32,
        produces_count: u32,
        alias_count: u32,
        interface_count: u32,
        name: *const c_char,
        doc: *const c_char,
        deprecated: *const c_char,
        aliases: *const *const c_char,
        interfaces: *const *const c_char,
        params: *const *const epp_param_spec,
        consumes: *const *const epp_attr_spec,
        produces: *const *const epp_attr_spec,
        create: unsafe extern "C" fn(
            *const epp_host, epp_str, *const epp_value, *mut epp_error,
        ) -> *mut c_void,
        destroy: unsafe extern "C" fn(*mut c_void),
        get_interface: unsafe extern "C" fn(*mut c_void, *const c_char) -> *const c_void,
    }
    struct epp_module [56] {
        struct_size: u32,
        flags: u32,
        abi_major: u32,
        abi_minor: u32,
        abi_min_minor: u32,
        type_count: u32,
        name: *const c_char,
        version: *const c_char,
        toolchain: *const c_char,
        types: *const *const epp_plugin_type,
    }
    struct epp_abi_note [32] {
        owner_size: u32,
        desc_size: u32,
        r#type: u32,
        owner: [u8; 4],
        abi_major: u32,
        abi_minor: u32,
        abi_min_minor: u32,
        flags: u32,
    }
}

/// The note that lets a host refuse a library before any of its code runs.
pub const NOTE: epp_abi_note = epp_abi_note {
    owner_size: 4,
    desc_size: 16,
    r#type: 1,
    owner: *b"EPP\0",
    abi_major: EPP_ABI_MAJOR,
    abi_minor: EPP_ABI_MINOR,
    abi_min_minor: EPP_ABI_MINOR,
    flags: 0,
};

#[cfg(test)]
mod tests {
    /// One line a record and a field; compared with the header's layout by a test of the SDK.
    #[test]
    fn print_layout() {
        for (record, size, fields) in super::layout() {
            println!("record {} {}", record, size);
            for (field, offset) in fields {
                println!(
                    "field {} {} {}",
                    record,
                    field.trim_start_matches("r#"),
                    offset
                );
            }
        }
    }
}
