//! kv-headroom-scorer: prefers endpoints with room in their KV cache.
//!
//! score[i] = max(0, 1 - usage[i] - reserve) / (1 - reserve), so an empty cache scores 1 and one
//! that is used up to the reserve scores 0.

mod abi;
mod plugin;

use abi::*;
use plugin::*;
use std::mem::size_of;
use std::os::raw::{c_char, c_void};
use std::ptr::null;

struct Headroom {
    reserve: f64,
}

impl Plugin for Headroom {
    const PARAMS: usize = 1;
    fn create(params: &[epp_value]) -> Result<Self, Failure> {
        // The host has checked type and range.
        Ok(Headroom {
            reserve: unsafe { params[0].v.f64_ },
        })
    }
}

impl Scorer for Headroom {
    fn score(&self, candidates: &Candidates, out: &mut [f64]) -> Result<(), Failure> {
        let usage: &[f64] = unsafe { candidates.column(0) };
        for (score, usage) in out.iter_mut().zip(usage) {
            *score = (1.0 - usage - self.reserve).max(0.0) / (1.0 - self.reserve);
        }
        Ok(())
    }
}

// ---- The tables that the host reads ----

static RESERVE: epp_param_spec = epp_param_spec {
    struct_size: size_of::<epp_param_spec>() as u32,
    r#type: EPP_P_F64,
    flags: 0,
    choice_count: 0,
    name: c!("reserve"),
    doc: c!("share of the cache that counts as used"),
    choices: null(),
    default_value: epp_value {
        r#type: EPP_P_F64,
        present: 1,
        v: epp_any { f64_: 0.0 },
    },
    min: 0.0,
    max: 0.9,
};
static USAGE: epp_attr_spec = epp_attr_spec {
    struct_size: size_of::<epp_attr_spec>() as u32,
    r#type: EPP_T_F64,
    scope: EPP_SCOPE_ENDPOINT,
    flags: 0,
    key: c!("KVCacheUsagePercent"),
    default_producer: c!("core-metrics-extractor"),
    producer_param: null(),
    schema: null(),
};
static SCORER: epp_scorer = epp_scorer {
    struct_size: size_of::<epp_scorer>() as u32,
    category: EPP_CATEGORY_DISTRIBUTION,
    score: score::<Headroom>,
};

unsafe extern "C" fn get_interface(_plugin: *mut c_void, id: *const c_char) -> *const c_void {
    answer(id, EPP_SCORER_ID, &SCORER)
}

struct Lists {
    params: [*const epp_param_spec; 1],
    consumes: [*const epp_attr_spec; 1],
    interfaces: [*const c_char; 1],
    types: [*const epp_plugin_type; 1],
}
unsafe impl Sync for Lists {}

static LISTS: Lists = Lists {
    params: [&RESERVE],
    consumes: [&USAGE],
    interfaces: [EPP_SCORER_ID.as_ptr() as *const c_char],
    types: [&TYPE],
};
static TYPE: epp_plugin_type = epp_plugin_type {
    struct_size: size_of::<epp_plugin_type>() as u32,
    flags: 0,
    stability: EPP_STABILITY_STABLE,
    param_count: LISTS.params.len() as u32,
    consumes_count: LISTS.consumes.len() as u32,
    produces_count: 0,
    alias_count: 0,
    interface_count: LISTS.interfaces.len() as u32,
    name: c!("kv-headroom-scorer"),
    doc: c!("Prefers endpoints with room in their KV cache."),
    deprecated: null(),
    aliases: null(),
    interfaces: LISTS.interfaces.as_ptr(),
    params: LISTS.params.as_ptr(),
    consumes: LISTS.consumes.as_ptr(),
    produces: null(),
    create: create::<Headroom>,
    destroy: destroy::<Headroom>,
    get_interface,
};
static MODULE: epp_module = epp_module {
    struct_size: size_of::<epp_module>() as u32,
    flags: 0,
    abi_major: EPP_ABI_MAJOR,
    abi_minor: EPP_ABI_MINOR,
    abi_min_minor: EPP_ABI_MINOR,
    type_count: LISTS.types.len() as u32,
    name: c!("example-rust-scorer"),
    version: c!(env!("CARGO_PKG_VERSION")),
    toolchain: c!("rustc"),
    types: LISTS.types.as_ptr(),
};

#[used]
#[link_section = ".note.epp"]
static ABI_NOTE: epp_abi_note = NOTE;

#[no_mangle]
pub extern "C" fn epp_plugin_entry_v1(host_major: u32, _host_minor: u32) -> *const epp_module {
    if host_major == EPP_ABI_MAJOR {
        &MODULE
    } else {
        null()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn score(reserve: f64, usage: Vec<f64>) -> Vec<f64> {
        let scorer = Headroom::create(&[f64_param(reserve)]).ok().unwrap();
        let mut out = vec![0.0; usage.len()];
        with(usage.len(), &[Values::F64(usage)], |candidates| {
            scorer.score(candidates, &mut out).ok().unwrap()
        });
        out
    }

    #[test]
    fn more_room_scores_higher() {
        assert_eq!(score(0.0, vec![0.0, 0.25, 1.0]), [1.0, 0.75, 0.0]);
    }

    #[test]
    fn the_reserve_counts_as_used() {
        assert_eq!(score(0.5, vec![0.0, 0.25, 0.5, 0.9]), [1.0, 0.5, 0.0, 0.0]);
    }
}
