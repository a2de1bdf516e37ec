//! The scorer of the toolchain matrix in Rust; see scorer.cc. Compiled as a crate of its own, with
//! the modules of the SDK's example beside it.
mod abi;
mod plugin;

use abi::epp_value;
use plugin::*;

struct Matrix {
    scale: f64,
    fail: String,
}

impl Matrix {
    fn fail(&self, place: &'static str) {
        if self.fail == place {
            panic!("thrown by {}", place);
        }
        if self.fail.strip_suffix("-int") == Some(place) {
            std::panic::panic_any(42);
        }
    }
}

impl Plugin for Matrix {
    fn create(params: &[epp_value]) -> Result<Self, Failure> {
        let made = Matrix {
            scale: unsafe { params[0].v.f64_ },
            fail: text_of(&params[1]).to_string(),
        };
        made.fail("create");
        Ok(made)
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.fail("destroy");
        }
    }
}

impl Scorer for Matrix {
    fn score(&self, candidates: &Candidates, out: &mut [f64]) -> Result<(), Failure> {
        self.fail("score");
        let waiting: &[i64] = unsafe { candidates.column(0) };
        let usage: &[f64] = unsafe { candidates.column(1) };
        for i in 0..out.len() {
            let queue = waiting[i].max(0) as f64;
            out[i] = (1.0 - usage[i]).sqrt() / (1.0 + queue / self.scale);
        }
        Ok(())
    }
}

library! {
    library: env!("NAME"),
    type_name: env!("NAME"),
    doc: "Scores what no toolchain may compute differently.",
    plugin: Matrix,
    params: [
        float(c!("scale"), 3.0, 0.5, 100.0, c!("divides")),
        string(c!("fail"), "", c!("where it panics")),
    ],
    consumes: [
        needs(c!("WaitingQueueSize"), EPP_T_I64, c!("core-metrics-extractor")),
        needs(c!("KVCacheUsagePercent"), EPP_T_F64, c!("core-metrics-extractor")),
    ],
    interfaces: [(EPP_SCORER_ID, epp_scorer, scorer_table::<Matrix>())],
}
