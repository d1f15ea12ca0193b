/* justify.pml - when a refusal may be recorded: docs/PROTOCOL.md, section 8.  "Insufficient funds" may be said only if at
 * some instant of the request the funds were short, counting as reserved only what was undecided then.
 *
 * One account here with NX cross-shard transfers (credits and debits of one unit, in every mixture), NL debits and one
 * credit local to the shard, an opening balance of 0 to 2, and one request to debit one unit, which is watched.  The
 * other shard of a transfer votes or writes a tombstone at any time; a tombstone may come before the vote here.
 * TRUE is the money by decisions: posted, plus committed credits and minus committed debits that are not finished here, minus
 * undecided debits.  FREE is the money that apply sees: posted minus everything reserved.
 *
 * Rule checked (default): the entry finds FREE short with transfers pending: DEFER.  The leader keeps FREE as of the DEFER
 * and settles what was pending there, as a strong read does: what is finished adds what it freed (a committed credit, an aborted
 * debit), what was undecided at some instant since adds nothing.  If that sum is short the funds were short at the DEFER: the
 * entry is proposed again marked settled, and refuses if FREE is short.  If the sum suffices, it is proposed again
 * unmarked, and may be deferred again.  The bound on that, 16 rounds and then "not voted", is not modelled: here a request
 * goes on until it is taken or refused.  "Not voted" claims nothing of funds, so giving up adds no refusal to be justified.
 *
 * Faulty: -DBUG_ONCE     always marked settled: at most one deferral
 *         -DBUG_ONLYNEW  always marked, but deferred again if something is pending that was not pending at the last DEFER
 *         -DBUG_CREDITS  as the rule, but only pending credits are settled
 *         -DBUG_NOSETTLE refuses at once
 */
#define NONE 0
#define P 1
#define C 2
#define A 3
#ifndef NX
#define NX 3
#endif
#ifndef NL
#define NL 1
#endif
byte here[NX], other[NX];
bit credit[NX];        /* its kind */
short free;            /* FREE */
short money;           /* TRUE */
bit watched, low;      /* the request is under way; TRUE was short at an instant of it */
byte open, known;      /* what the settlement waits for; what was pending at the DEFER */
short sum;             /* FREE at the DEFER, and what has been freed by what was pending there */
byte left;             /* local debits to come */
bit late;              /* the local credit is to come */

#ifdef REACH1
#define REACH (again > 1 && !refused)                     /* deferred twice, then taken */
#endif
#ifdef REACH2
#define REACH (again > 1 && refused && !pending)          /* deferred twice, then refused with nothing pending */
#endif
#ifdef REACH3
#define REACH (marked && !refused)                        /* was short, is taken none the less */
#endif
#ifdef REACH
bit probe;
#endif

inline look() { if :: watched && money < 1 -> low = 1 :: else -> skip fi }

proctype Transfer(byte t) {
  bit mine = credit[t];
end:
  do
  :: atomic { other[t]==NONE -> other[t] = P;                        /* the other shard votes */
       money = money + (mine && here[t]==P); look() }
  :: atomic { other[t]==NONE -> other[t] = A;                        /* ... or writes a tombstone */
       money = money + (!mine && here[t]==P); look() }
  :: atomic { here[t]==NONE && mine -> here[t] = P;                  /* a credit is announced */
       money = money + (other[t]==P); look() }
  :: atomic { here[t]==NONE && !mine && free>=1 -> here[t] = P; free--;        /* a debit is reserved: no money if aborted already */
       money = money - (other[t]!=A); look() }
  :: atomic { here[t]==P && other[t]==P -> here[t] = C;              /* FINISH */
       free = free + mine;
       if :: open & 1<<t -> sum = sum + mine; open = open & ~(1<<t) :: else -> skip fi }
  :: atomic { here[t]==P && other[t]==A -> here[t] = A;
       free = free + !mine;
       if :: open & 1<<t -> sum = sum + !mine; open = open & ~(1<<t) :: else -> skip fi }
  :: atomic { (open & 1<<t) && other[t]==NONE -> open = open & ~(1<<t) }       /* undecided at this instant */
  od
}
proctype Local() {
end:
  do
  :: atomic { left && free>=1 -> left--; free--; money--; look() }
  :: atomic { late -> late = 0; free++; money++ }
  od
}
proctype Request() {
  byte pending, i, again; bit marked, refused;
  atomic { watched = 1; look() };
  do
  :: atomic {
       pending = 0; i = 0;
       do :: i < NX -> pending = pending | (here[i]==P)<<i; i++ :: else -> break od;
       i = 0;
       if
       :: free >= 1 -> free--; break
#ifdef BUG_NOSETTLE
       :: free < 1 -> refused = 1; break
#elif defined(BUG_ONLYNEW)
       :: free < 1 && !(pending & ~(marked -> known : 0)) -> refused = 1; break
#else
       :: free < 1 && (marked || !pending) -> refused = 1; break
#endif
       :: else ->                                                    /* DEFER */
          again = (again < 2 -> again+1 : 2); sum = free; known = pending; open = pending;
#ifdef BUG_CREDITS
          do :: i < NX -> if :: !credit[i] -> open = open & ~(1<<i) :: else -> skip fi; i++ :: else -> break od;
          i = 0
#endif
       fi };
     atomic { !open ->
#if defined(BUG_ONCE) || defined(BUG_ONLYNEW)
       marked = 1
#else
       marked = (sum < 1)
#endif
     }
  od;
  atomic { true -> d_step {
    assert(!refused || low);
#ifdef REACH
    probe = (REACH); assert(!probe);
#endif
    watched = 0; low = 0; sum = 0; known = 0; pending = 0; again = 0; marked = 0; refused = 0 } }
}
init { byte i; atomic {
  if :: free = 0 :: free = 1 :: free = 2 fi;
  money = free; left = NL; late = 1;
  do
  :: i < NX -> if :: true -> credit[i] = 1 :: i==0 || !credit[i-1] -> skip fi;       /* debits first: those of a kind are alike */
     run Transfer(i); i++
  :: else -> break
  od;
  i = 0; run Local(); run Request() } }
