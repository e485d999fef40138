-- what the key of a row is the hash of, but for its last part
create macro identity(entity, repository_id, number) as
  concat(entity, chr(31), repository_id, chr(31), number, chr(31));

create macro seconds_between(earlier, later) as
  (epoch_us(later) - epoch_us(earlier)) // 1000000;
