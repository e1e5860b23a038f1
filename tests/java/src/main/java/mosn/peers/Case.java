package mosn.peers;

/** Something to try on a stack. */
interface Case {
  /** Tries it; what was seen, for the record, or null. Throws if it is not right. */
  String run(Stack stack, Target target) throws Exception;
}
