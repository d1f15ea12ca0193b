/* read.pml - strong reads of accounts on one shard, against implicit commit: docs/PROTOCOL.md, section 7.
 * NT=2 transfers, each between shard 0 and shard 1.  Readers sit on either shard.
 * Rule checked (default): take the read point (ReadIndex); for every transfer prepared there ask the other shard
 * (linearizable answer): voted => wait until the local FINISH is applied; not voted or aborted => do not wait.
 * Then return the posted balances of the local log prefix.
 * Checked: V  - success reported, or seen by a read that has returned, before this read began => this read sees it;
 *          CH - two reads of the same shard never disagree on order: what they saw is comparable by inclusion;
 *          NA - nobody ever sees a transfer that aborts.
 * Faulty: -DBUG_POSTED (posted balance at the read point, no inquiry), -DBUG_STALE (inquiry answered by a lagging replica),
 *         -DBUG_FIRSTRULE (decide each transfer separately from the inquiry, without FINISH in the log: breaks CH with two
 *         transfers although it passes with one)
 */
#define NONE 0
#define P 1
#define C 2
#define A 3
#ifndef NT
#define NT 2
#endif
#ifndef NRD
#define NRD 2
#endif
byte st[4]; byte old[4];
bit rep[2], seen[2], inq[4], sent[4];
byte res0[NRD], res1[NRD]; bit done0[NRD], done1[NRD];
#define V(x) (st[x]==P || st[x]==C)

proctype Shard(byte t; byte s) {
end: do
  :: atomic { sent[t*2+s] && st[t*2+s]==NONE -> old[t*2+s] = NONE; st[t*2+s] = P }
  :: atomic { inq[t*2+s] && st[t*2+s]==NONE -> old[t*2+s] = NONE; st[t*2+s] = A }
  :: atomic { st[t*2+s]==P && V(t*2+1-s) -> st[t*2+s] = C }
  :: atomic { st[t*2+s]==P && st[t*2+1-s]==A -> st[t*2+s] = A }
  :: atomic { st[t*2+s]==P && !inq[t*2+1-s] -> inq[t*2+1-s] = 1 }
#ifdef BUG_STALE
  :: atomic { old[t*2+s] != st[t*2+s] -> old[t*2+s] = st[t*2+s] }
#endif
  od }
proctype Client(byte t) {
  do
  :: atomic { !sent[t*2] -> sent[t*2] = 1 }
  :: atomic { !sent[t*2+1] -> sent[t*2+1] = 1 }
  :: atomic { V(t*2) && V(t*2+1) -> rep[t] = 1; break }
  :: true -> break
  od }
#ifdef BUG_STALE
#define OTHER(t) (old[(t)*2+1-s]==P || old[(t)*2+1-s]==C)
#else
#define OTHER(t) V((t)*2+1-s)
#endif
inline settle(t,q,saw) {
  if
  :: q!=P -> saw = (q==C)
#if defined(BUG_POSTED)
  :: q==P -> saw = 0
#elif defined(BUG_FIRSTRULE)
  :: q==P -> atomic { saw = OTHER(t) }
#else
  :: atomic { q==P && OTHER(t) -> skip }; st[(t)*2+s]!=P      /* wait for the FINISH to be applied here */
  :: atomic { q==P && !OTHER(t) -> skip }
#endif
  fi
}
proctype Reader(byte n; byte s) {
  bit must0, must1, saw0, saw1; byte q0, q1, i, m;
  atomic { must0 = rep[0] || seen[0]; must1 = rep[1] || seen[1]; q0 = st[s]; q1 = st[2+s] }
  settle(0,q0,saw0);
#if NT>1
  settle(1,q1,saw1);
#endif
  atomic {
#if !defined(BUG_POSTED) && !defined(BUG_FIRSTRULE)
    saw0 = (st[s]==C); saw1 = (st[2+s]==C);                       /* the log prefix, at one instant */
#endif
    assert(!must0 || saw0); assert(!must1 || saw1);               /* V */
    if :: saw0 -> seen[0] = 1 :: else -> skip fi;
    if :: saw1 -> seen[1] = 1 :: else -> skip fi;
    assert(!seen[0] || (st[0]!=A && st[1]!=A)); assert(!seen[1] || (st[2]!=A && st[3]!=A));   /* NA */
    m = saw0 + 2*saw1;
    i = 0;
    do
    :: i < NRD ->
       if
       :: s==0 && done0[i] -> assert((res0[i] & m)==m || (res0[i] & m)==res0[i])             /* CH */
       :: s==1 && done1[i] -> assert((res1[i] & m)==m || (res1[i] & m)==res1[i])
       :: else -> skip
       fi; i++
    :: else -> break
    od;
    if :: s==0 -> res0[n] = m; done0[n] = 1 :: s==1 -> res1[n] = m; done1[n] = 1 fi; i = 0; m = 0
  }
}
init { byte i; atomic { run Shard(0,0); run Shard(0,1); run Client(0);
#if NT>1
  run Shard(1,0); run Shard(1,1); run Client(1);
#endif
  do :: i < NRD -> if :: run Reader(i,0) :: run Reader(i,1) fi; i++ :: else -> break od } }
