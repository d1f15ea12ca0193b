/* fork.pml - what plain strong reads do NOT promise: two overlapping reads of two different accounts may order two
 * concurrent transfers differently (long fork).  A violation here is EXPECTED; it is why multi-account reads must use
 * the barrier snapshot (audit.pml): docs/PROTOCOL.md, section 7. */
#define P 1
#define C 2
byte st[4];            /* transfer*2+shard; no aborts needed */
bit s0, s1;            /* what reader a (shard 0) saw of transfers 0, 1 */
bit t0, t1;            /* what reader b (shard 1) saw */
bit da, db;
bit probe;
proctype Shard(byte t; byte s) {
end: do
  :: atomic { st[t*2+s]==0 -> st[t*2+s] = P }
  :: atomic { st[t*2+s]==P && st[t*2+1-s]!=0 -> st[t*2+s] = C }
  od }
inline look(t,s,q,saw) { if :: q==C -> saw = 1 :: q==0 -> saw = 0 :: q==P -> atomic { saw = (st[t*2+1-s]!=0) } fi }
proctype Ra() { byte a, b; atomic { a = st[0]; b = st[2] }; look(0,0,a,s0); look(1,0,b,s1); da = 1 }
proctype Rb() { byte a, b; atomic { a = st[1]; b = st[3] }; look(0,1,a,t0); look(1,1,b,t1); db = 1 }
active proctype M() { timeout -> probe = (da && db && s0 && !s1 && !t0 && t1); assert(!probe) }
init { atomic { run Shard(0,0); run Shard(0,1); run Shard(1,0); run Shard(1,1); run Ra(); run Rb() } }
