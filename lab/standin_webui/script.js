// The original serves its scripts like this one; that it can be fetched shows a right working directory.
