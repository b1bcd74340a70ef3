"""Operations on the objects of a label volume: which stay, which are joined or split, which meet."""
