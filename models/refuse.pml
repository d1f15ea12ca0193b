/* refuse.pml - a refusal must be justified: docs/PROTOCOL.md, section 8.  Account B on shard 0 receives two credits T0, T1 from shard 1 (implicit
 * commit) and has two debits D0, D1 of one unit each (single-shard).  An acknowledged credit counts as money at once:
 * if c credits were acknowledged (or aborted ones: none count) before a debit was submitted and fewer than c other debits
 * have been taken when it is refused, the refusal is wrong.
 * Rule checked: at apply, "not enough" with pending transfers on the account => DEFER once: settle every transfer pending now
 * (ask the other shard; voted => wait for the local FINISH), then apply again; only then may it be refused.  That was the first rule
 * of section 8.  It suffices for the credits of this model, not in general: the rule of today is in justify.pml.
 * Faulty: -DBUG_NOSETTLE (refuse at once) -DBUG_PRECHECK (leader looks before proposing, apply refuses at once)
 */
#define NONE 0
#define P 1
#define C 2
#define A 3
byte st[4]; bit sent[4], inq[4], rep[2];
short bal; byte taken;
#define V(x) (st[x]==P || st[x]==C)
proctype Shard(byte t; byte s) {
end: do
  :: atomic { sent[t*2+s] && st[t*2+s]==NONE -> st[t*2+s] = P }
  :: atomic { inq[t*2+s] && st[t*2+s]==NONE -> st[t*2+s] = A }
  :: atomic { st[t*2+s]==P && V(t*2+1-s) -> st[t*2+s] = C; if :: s==0 -> bal++ :: else -> skip fi }
  :: atomic { st[t*2+s]==P && st[t*2+1-s]==A -> st[t*2+s] = A }
  :: atomic { st[t*2+s]==P && !inq[t*2+1-s] -> inq[t*2+1-s] = 1 }
  od }
proctype Client(byte t) {
  do
  :: atomic { !sent[t*2] -> sent[t*2] = 1 }
  :: atomic { !sent[t*2+1] -> sent[t*2+1] = 1 }
  :: atomic { V(t*2) && V(t*2+1) -> rep[t] = 1; break }
  :: true -> break
  od }
inline settle(t,q) { if :: q!=P -> skip
  :: atomic { q==P && V(t*2+1) -> skip }; st[t*2]!=P
  :: atomic { q==P && !V(t*2+1) -> skip } fi }
proctype Debit() {
  byte c, q0, q1; bit settled, ok;
  atomic { c = rep[0] + rep[1] }                                   /* submitted */
#ifdef BUG_PRECHECK
  if
  :: atomic { bal >= 1 -> settled = 1 }
  :: atomic { bal < 1 -> q0 = st[0]; q1 = st[2] }; settle(0,q0); settle(1,q1); settled = 1
  fi;
#endif
#ifdef BUG_NOSETTLE
  settled = 1;
#endif
again:
  if
  :: atomic { bal >= 1 -> bal--; taken++; ok = 1 }
  :: atomic { bal < 1 && (settled || (st[0]!=P && st[2]!=P)) -> assert(!(c > taken)) ; ok = 0 }
  :: atomic { bal < 1 && !settled && (st[0]==P || st[2]==P) -> q0 = st[0]; q1 = st[2] };
     settle(0,q0); settle(1,q1); settled = 1; goto again
  fi
}
init { atomic { run Shard(0,0); run Shard(0,1); run Shard(1,0); run Shard(1,1); run Client(0); run Client(1); run Debit(); run Debit() } }
