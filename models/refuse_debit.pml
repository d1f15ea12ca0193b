/* refuse_debit.pml - a justified refusal, with a pending DEBIT whose transfer the other shard aborted and its client has
 * reported: docs/PROTOCOL.md, section 8.  The aborted debit still holds its reservation, so settling the pending credits
 * alone (the rule of section 7, step 2) is not enough: without -DFIXED a violation is expected.  -DFIXED defers once and settles
 * both kinds: enough for the one debit of this model, not in general (justify.pml). */
#define NONE 0
#define P 1
#define C 2
#define A 3
byte s0, s1; bit sent, repfail; short bal = 1, res;
proctype Shard0() { end: do
 :: atomic { sent && s0==NONE -> if :: bal-res>=1 -> s0=P; res++ :: else -> s0=A fi }
 :: atomic { s0==P && (s1==P||s1==C) -> s0=C; res--; bal-- }
 :: atomic { s0==P && s1==A -> s0=A; res-- }
 od }
proctype Shard1() { end: do
 :: atomic { sent && s1==NONE -> s1=A } :: atomic { sent && s1==NONE -> s1=P } od }
proctype Client() { sent=1; if :: atomic { s1==A -> repfail=1 } :: true fi }
proctype Debit() { bit f, settled;
 atomic { f = repfail };
again: if
 :: atomic { bal-res>=1 -> bal-- }
 :: atomic { bal-res<1 && (settled || s0!=P) -> assert(!f) }
 :: atomic { bal-res<1 && !settled && s0==P -> skip };
    if :: atomic { s1==P||s1==C } -> s0!=P          /* YES: wait for FINISH */
#ifdef FIXED
       :: atomic { s1==A } -> s0!=P                 /* ABORTED: FINISH(abort) and wait too */
       :: atomic { s1==NONE } -> skip
#else
       :: atomic { s1==A || s1==NONE } -> skip      /* section 7 step 2: do not wait */
#endif
    fi; settled=1; goto again
 fi }
init { atomic { run Shard0(); run Shard1(); run Client(); run Debit() } }
