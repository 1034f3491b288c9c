from raypipe.jobs.face_pairs import JOB

if __name__ == "__main__":
    JOB.main()
