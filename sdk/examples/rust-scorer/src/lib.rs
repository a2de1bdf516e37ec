//! kv-headroom-scorer: prefers endpoints with room in their KV cache.
//!
//! score[i] = max(0, 1 - usage[i] - reserve) / (1 - reserve), so an empty cache scores 1 and one
//! that is used up to the reserve scores 0. So does a usage that is no number.

mod abi;
mod plugin;
#[cfg(test)]
mod testing;

use abi::epp_value;
use plugin::*;

struct Headroom {
    reserve: f64,
}

impl Plugin for Headroom {
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
            // Not clamp, which keeps NaN.
            let room = (1.0 - usage - self.reserve) / (1.0 - self.reserve);
            *score = room.max(0.0).min(1.0);
        }
        Ok(())
    }
}

library! {
    library: "example-rust-scorer",
    type_name: "kv-headroom-scorer",
    doc: "Prefers endpoints with room in their KV cache.",
    plugin: Headroom,
    params: [float(c!("reserve"), 0.0, 0.0, 0.9, c!("share of the cache that counts as used"))],
    consumes: [needs(c!("KVCacheUsagePercent"), EPP_T_F64, c!("core-metrics-extractor"))],
    interfaces: [(EPP_SCORER_ID, epp_scorer, scorer_table::<Headroom>())],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

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
    fn odd_usage_gives_a_score() {
        let odd = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -3.0, 7.0];
        assert_eq!(score(0.0, odd), [0.0, 0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn the_reserve_counts_as_used() {
        assert_eq!(score(0.5, vec![0.0, 0.25, 0.5, 0.9]), [1.0, 0.5, 0.0, 0.0]);
    }
}
