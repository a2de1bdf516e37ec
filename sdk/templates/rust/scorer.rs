//! @NAME@: prefers endpoints where few requests wait.
//!
//! score[i] = halfAt / (halfAt + waiting[i]): 1 without a queue, 1/2 at halfAt requests.

mod abi;
mod plugin;
#[cfg(test)]
mod testing;

use abi::epp_value;
use plugin::*;

struct @CLASS@ {
    half_at: f64,
}

impl Plugin for @CLASS@ {
    fn create(params: &[epp_value]) -> Result<Self, Failure> {
        // The host has checked type and range.
        let half_at = unsafe { params[0].v.i64_ } as f64;
        Ok(@CLASS@ { half_at })
    }
}

impl Scorer for @CLASS@ {
    fn score(&self, candidates: &Candidates, out: &mut [f64]) -> Result<(), Failure> {
        let waiting: &[i64] = unsafe { candidates.column(0) };
        for (score, waiting) in out.iter_mut().zip(waiting) {
            *score = self.half_at / (self.half_at + (*waiting).max(0) as f64);
        }
        Ok(())
    }
}

library! {
    library: "@NAME@",
    type_name: "@NAME@",
    doc: "@DOC@",
    plugin: @CLASS@,
    params: [int(c!("halfAt"), 4, 1.0, 1e6, c!("waiting requests that halve the score"))],
    consumes: [needs(c!("WaitingQueueSize"), EPP_T_I64, c!("core-metrics-extractor"))],
    interfaces: [(EPP_SCORER_ID, epp_scorer, scorer_table::<@CLASS@>())],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn score_of(half_at: i64, waiting: Vec<i64>) -> Vec<f64> {
        let scorer = @CLASS@::create(&[i64_param(half_at)]).ok().unwrap();
        let mut out = vec![0.0; waiting.len()];
        with(waiting.len(), &[Values::I64(waiting)], |candidates| {
            scorer.score(candidates, &mut out).ok().unwrap()
        });
        out
    }

    #[test]
    fn short_queues_score_higher() {
        assert_eq!(score_of(4, vec![0, 4, 12]), [1.0, 0.5, 0.25]);
        assert_eq!(score_of(12, vec![-1, 4, 12]), [1.0, 0.75, 0.5]);
    }
}
