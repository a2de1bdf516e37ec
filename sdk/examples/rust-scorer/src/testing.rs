//! Candidates for unit tests: columns of f64 or i64, all values present.
#![allow(dead_code)]

use crate::abi::*;
use crate::plugin::{Candidates, Keep};
use std::os::raw::c_void;
use std::ptr::null;

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
            validity: null(),
            offsets: null(),
        })
        .collect();
    let raw = epp_candidates {
        struct_size: std::mem::size_of::<epp_candidates>() as u32,
        count: n as u32,
        column_count: columns.len() as u32,
        reserved0: 0,
        columns: columns.as_ptr(),
        endpoints: null(),
        slots: null(),
        rows: null(),
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
