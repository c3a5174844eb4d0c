"""One run on several processes: who they are, what each computes, how they stay one run."""
